/** Makes elements in one expression. Text is always text, never markup. */

export type Child = Node | string | null;
type Attributes = Readonly<Record<string, string | number | boolean | null>>;

export function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Tag] {
  return fill(document.createElement(tag), attributes, children);
}

export function fill<E extends Element>(target: E, attributes: Attributes, children: readonly Child[]): E {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) target.setAttribute(name, '');
    else if (value !== false && value !== null) target.setAttribute(name, String(value));
  }
  target.append(...children.filter((child) => child !== null));
  return target;
}

export const replace = (target: Element, ...children: readonly Child[]): void =>
  target.replaceChildren(...children.filter((child) => child !== null));

/** The same for elements that can have the focus: afterwards the one of the same name has it, or the first, if one of them had it before. */
export function redraw(target: Element, ...children: readonly Child[]): void {
  const focused = target.contains(document.activeElement) ? document.activeElement : null;
  replace(target, ...children);
  if (focused === null) return;
  const buttons = [...target.querySelectorAll<HTMLElement>('[aria-label]')];
  const name = focused.getAttribute('aria-label');
  (buttons.find((one) => one.getAttribute('aria-label') === name) ?? buttons[0])?.focus();
}

/** Writes a text if it is another than before: a live region is read aloud whenever it is written. */
export function say(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}
