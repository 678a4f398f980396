/** VS Code's picks, by keys as a user goes through them. */
import { ask, inWorkbench, press, until } from './driver.ts';

/** What the pick at the top holds: what is typed, then its entries; empty if none is open. */
export const pick = (): Promise<string> =>
  inWorkbench(
    `(() => { const box = document.querySelector('.quick-input-widget'); return box && box.style.display !== 'none' ? box.querySelector('input').value + ' ' + box.textContent : ''; })()`,
  );

/** Whether what is typed goes to the pick. */
export const hasKeys = (): Promise<boolean> =>
  inWorkbench(`document.querySelector('.quick-input-widget input') === document.activeElement`);

/** Runs a command by its title, from the palette. */
export async function fromPalette(title: string): Promise<void> {
  await press('F1');
  await until('the palette', async () => (await pick()).startsWith('>') && (await hasKeys()));
  await ask({ do: 'type', text: title });
  await until('the command', async () => (await pick()).includes(`Early Exit: ${title}`));
  await press('Enter');
}

/** Takes the entry that begins so, by what one types to find it, once the pick has the keys. */
export async function take(entry: string, next: string): Promise<void> {
  await until('the keys', hasKeys);
  await ask({ do: 'type', text: entry });
  await until(entry, async () => (await pick()).startsWith(entry));
  await press('Enter');
  await until(next, async () => (await pick()).includes(next));
}
