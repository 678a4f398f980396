import { writeChats } from '/work/main/test/bench/chats.ts';
const file='/work/main/.cache/bench/models/Qwen2.5-Coder-1.5B-Instruct-Q4_K_M.gguf';
await writeChats(file, 2, 'tuning', '/tmp/exp/tuning15.jsonl');
console.log('tuning done');
await writeChats(file, 2, 'calibrating', '/tmp/exp/calibrating15.jsonl');
console.log('calibrating done');
