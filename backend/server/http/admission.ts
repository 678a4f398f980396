/** How much one client may have open at a time: texts, and questions by number and bytes. What is too much is refused and counted. */
import { refusal, type Refusal } from './failures.ts';
import type { Counts } from './metrics.ts';
import { newRoom } from './room.ts';

export interface AdmissionLimits {
  /** Texts of one client that may be open beside as many as are written at a time. */
  readonly queue: number;
  /** Of the questions that one client has open, together. */
  readonly questionBytes: number;
}

/** Both return the function that releases the room. @throws Refusal if the client has too much open. */
export interface Admission {
  /** `parallel`: texts that are written at a time. */
  texts(client: string, texts: number, parallel: number): () => void;
  question(client: string, bytes: number): () => void;
}

/** Questions that one client may have open. */
const mostQuestions = 16;

export function newAdmission(limits: AdmissionLimits, counts: Pick<Counts, 'refused'>): Admission {
  const rooms = { texts: newRoom(), questions: newRoom(), questionBytes: newRoom() };
  const refused = (what: string): Refusal => {
    counts.refused++;
    return refusal(503, 'overloaded', `Too many ${what} wait: come back later.`, { retryAfter: 1 });
  };
  return {
    texts(client, texts, parallel) {
      const giveBack = rooms.texts.take(client, texts, parallel + limits.queue);
      if (giveBack === null) throw refused('texts');
      return giveBack;
    },
    question(client, bytes) {
      const ofCount = rooms.questions.take(client, 1, mostQuestions);
      const ofBytes = ofCount && rooms.questionBytes.take(client, bytes, limits.questionBytes);
      if (ofBytes) return () => [ofCount, ofBytes].forEach((giveBack) => giveBack());
      ofCount?.();
      throw refused('questions');
    },
  };
}
