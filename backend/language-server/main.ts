/** Entry of the language server as a program: `node dist/server.js --stdio --clientProcessId <pid>`. */
import { startServer } from './stdio.ts';

startServer();
