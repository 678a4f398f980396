/** A menu below a button of the toolbar: stays within the view, and closes when the focus goes elsewhere. */
import { element } from './dom.ts';

export interface Popup {
  readonly root: HTMLDetailsElement;
  readonly menu: HTMLElement;
  close(): void;
}

/** Pixels between a menu and the edge of the view. */
const ROOM = 8;

export function popup(label: string): Popup {
  // It can have the focus, so that a click between its entries does not take that away.
  const menu = element('div', { class: 'menu', tabindex: -1 });
  const summary = element('summary', {}, label);
  const root = element('details', { class: 'popup' }, summary, menu);
  const close = (): void => {
    root.open = false;
  };
  root.addEventListener('toggle', () => root.open && keepInside(menu));
  root.addEventListener('keydown', ({ key }) => {
    if (key !== 'Escape' || !root.open) return;
    close();
    summary.focus();
  });
  root.addEventListener('focusout', ({ relatedTarget }) => {
    if (!(relatedTarget instanceof Node && root.contains(relatedTarget))) close();
  });
  document.addEventListener('click', ({ target }) => {
    if (target instanceof Node && !root.contains(target)) close();
  });
  window.addEventListener('blur', close);
  return { root, menu, close };
}

function keepInside(menu: HTMLElement): void {
  menu.style.transform = '';
  const { left, right, top } = menu.getBoundingClientRect();
  const width = document.documentElement.clientWidth;
  const shift = left < ROOM ? ROOM - left : Math.min(0, width - ROOM - right);
  menu.style.transform = `translateX(${shift}px)`;
  menu.style.maxHeight = `${Math.max(80, window.innerHeight - top - ROOM)}px`;
}
