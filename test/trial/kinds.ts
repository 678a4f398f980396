/** Every kind of trial, in the order in which they are tried: the long one last. */
import { caches } from './kinds/caches.ts';
import { clientsKind } from './kinds/clients.ts';
import { commandLines } from './kinds/command-lines.ts';
import { disk } from './kinds/disk.ts';
import { folders } from './kinds/folders.ts';
import { frames } from './kinds/frames.ts';
import { generations } from './kinds/generations.ts';
import { handles } from './kinds/handles.ts';
import { hub } from './kinds/hub.ts';
import { keysSoak } from './kinds/keys-soak.ts';
import { kills } from './kinds/kills.ts';
import { mutations } from './kinds/mutations.ts';
import { questions } from './kinds/questions.ts';
import { replaced } from './kinds/replaced.ts';
import { requests } from './kinds/requests.ts';
import { servedSoak } from './kinds/served-soak.ts';
import { soak } from './kinds/soak.ts';
import { streams } from './kinds/streams.ts';
import type { Kind } from './trial.ts';

export const kinds: readonly Kind[] = [
  kills,
  commandLines,
  streams,
  requests,
  clientsKind,
  questions,
  caches,
  frames,
  generations,
  soak,
  servedSoak,
  keysSoak,
  disk,
  folders,
  handles,
  replaced,
  hub,
  mutations,
];
