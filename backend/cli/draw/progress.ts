/** How the events of a recipe are drawn: phases, progress, warnings and the model on standard error, alike for every command. */
import { phaseNames } from '../../../protocol/phases.ts';
import { plural, singular } from '../../../protocol/plural.ts';
import type {
  GenerateReadyEvent,
  Phase,
  PhaseEvent,
  ExpectedEvent,
  NoteEvent,
  ProgressEvent,
  ReadyEvent,
  WarningEvent,
} from '../../../protocol/events.ts';
import { modelName } from './naming.ts';
import { openStatus, type Status } from './status.ts';
import { count, duration } from './table.ts';
import type { Stream } from './terminal.ts';

const widest = Math.max(...Object.values(phaseNames).map((name) => name.length));
const nameOf = (phase?: Phase): string => (phase ? phaseNames[phase] : '').padEnd(widest);

export type CommonEvent =
  PhaseEvent | ProgressEvent | ExpectedEvent | NoteEvent | WarningEvent | ReadyEvent | GenerateReadyEvent;

export interface Progress {
  readonly status: Status;
  /** Shows the event. */
  show(event: CommonEvent): void;
  /** Shows a phase within the current one, such as an evaluation in the middle of tuning: a drawn line that goes. */
  showWithin(event: PhaseEvent | ProgressEvent): void;
  /** A line under the current phase, with a bar. */
  draw(share: number, rest: () => string): void;
  /** Closes the phase that is going on with a line that stays. */
  end(): void;
  /** Leaves the phase that is going on without a line of its own. */
  leave(): void;
}

export function openProgress(stream: Stream, now: () => number = () => performance.now()): Progress {
  const status = openStatus(stream, now);
  const { green, yellow, dim, bold } = stream.colours;
  let current: { readonly phase: Phase; detail: string; readonly start: number } | null = null;

  const end = (): void => {
    if (current) {
      const time = duration((now() - current.start) / 1000);
      const line = `${green('✓')} ${nameOf(current.phase)}  ${current.detail}`;
      status.say(`${line.trimEnd()}${current.detail ? ' ' : '  '}${dim(time)}`);
    }
    current = null;
  };
  const begin = (phase: Phase, given: string): void => {
    const detail = phase === 'load' ? modelName(given) : given;
    if (current?.phase === phase) {
      current.detail = detail || current.detail;
      return;
    }
    end();
    current = { phase, detail, start: now() };
    status.show(null, () => `  ${nameOf(phase)}  ${detail}`);
  };
  const draw = (share: number, rest: () => string): void => {
    const name = nameOf(current?.phase);
    status.show(share, (bar) => `  ${name}  ${bar}  ${rest()}`);
  };

  return {
    status,
    show(event) {
      switch (event.type) {
        case 'phase':
          return begin(event.phase, event.detail);
        case 'progress': {
          begin(event.phase, '');
          if (current) current.detail = amount(event.done, event.unit);
          return draw(shareOf(event), () => amountOf(event));
        }
        case 'expected':
          return status.say(dim(`  about ${duration(event.seconds)} in all`));
        case 'note':
          return status.say(dim(event.message));
        case 'warning':
          return status.say(`${yellow('!')} ${event.message}`);
        case 'ready': {
          end();
          const exits = event.exits.map(({ exit }) => exit).join(', ');
          const mode = 'mode' in event ? [event.mode, event.policy].filter(Boolean).join(', ') : '';
          const parts = [`${event.layers} layers`, exits && `exits ${exits}`, event.device, mode].filter(Boolean);
          status.say(`${bold(event.model)} ${dim(`· ${parts.join(' · ')}`)}`);
          if ('brought' in event && event.brought) status.say(dim(`  leaving early: ${event.brought}`));
          return;
        }
      }
    },
    showWithin(event) {
      const name = nameOf(event.phase);
      if (event.type === 'phase') return status.show(null, () => `  ${name}  ${event.detail}`);
      status.show(shareOf(event), (bar) => `  ${name}  ${bar}  ${amountOf(event)}`);
    },
    draw,
    end,
    leave() {
      current = null;
      status.clear();
    },
  };
}

/** How a command draws the events of its own, and those common ones that it draws otherwise. */
export type Drawing<Event extends { readonly type: string }> = {
  readonly [Type in Exclude<Event['type'], CommonEvent['type']>]: Draw<Event, Type>;
} & { readonly [Type in Event['type'] & CommonEvent['type']]?: Draw<Event, Type> };

type Draw<Event, Type> = (event: Event & { readonly type: Type }, progress: Progress) => void;

/** Draws events as they come. Throws what the recipe throws. */
export async function drawEvents<Event extends { readonly type: string }>(
  events: AsyncIterable<Event>,
  stream: Stream,
  drawing: Drawing<Event>,
): Promise<void> {
  const own = drawing as Readonly<Record<string, Draw<Event, string> | undefined>>;
  const progress = openProgress(stream);
  try {
    for await (const event of events) {
      const draw = own[event.type];
      if (draw) draw(event, progress);
      // `Drawing` has the types of all others.
      else progress.show(event as unknown as CommonEvent);
    }
    progress.end();
  } finally {
    progress.status.clear();
  }
}

const shareOf = ({ done, total }: ProgressEvent): number => (total > 0 ? done / total : 0);

/** 125 of 134 documents. */
function amountOf({ done, total, unit, secondsLeft }: ProgressEvent): string {
  const sum = amount(total, unit);
  const share = unit === 'bytes' ? `${amount(done, unit)} of ${sum}` : `${count(done)} of ${sum}`;
  return secondsLeft === undefined ? share : `${share}, ${duration(secondsLeft)} left`;
}

/** 12,345 tokens; bytes as MB. */
function amount(value: number, unit: string): string {
  if (unit === 'bytes') return `${(value / 1e6).toFixed(1)} MB`;
  return plural(value, singular(unit), unit).trimEnd();
}
