/**
 * The driver's side of the channel between the tests inside the editor and the page outside it. A request is a file
 * `<n>.request.json`, its answer `<n>.response.json`: it works alike for a server and a desktop VS Code, and over reloads.
 */
import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Frame, Page } from 'playwright-core';
import type { DriverAnswer, DriverRequest } from '../harness/driver.ts';

export interface ControlOptions {
  readonly directory: string;
  readonly screenshots: string;
}

/** Answers requests until the signal fires. */
export async function serveControl(page: Page, options: ControlOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const names = (await readdir(options.directory)).filter((name) => name.endsWith('.request.json'));
    for (const name of names) {
      const file = path.join(options.directory, name);
      const request = JSON.parse(await readFile(file, 'utf8')) as DriverRequest;
      await rm(file);
      let answer: DriverAnswer;
      try {
        answer = { value: (await carryOut(page, request, options)) ?? null };
      } catch (error) {
        answer = { error: String(error) };
      }
      const response = file.replace('.request.', '.response.');
      await writeFile(`${response}.partial`, JSON.stringify(answer));
      await rename(`${response}.partial`, response);
    }
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

async function carryOut(page: Page, request: DriverRequest, options: ControlOptions): Promise<unknown> {
  switch (request.do) {
    case 'screenshot': {
      const target = request.selector === undefined ? page : page.locator(request.selector).first();
      return target.screenshot({ path: path.join(options.screenshots, `${request.name}.png`), type: 'png' });
    }
    case 'reload':
      return page.reload({ waitUntil: 'commit' });
    case 'resize':
      return page.setViewportSize({ width: request.width, height: request.height });
    case 'press':
      return page.keyboard.press(request.key);
    case 'type':
      return page.keyboard.type(request.text, { delay: 10 });
    case 'workbench':
      return page.evaluate(request.expression);
    case 'view':
      return (await findView(page, request.view)).evaluate(request.expression);
    case 'click':
      return (request.view === null ? page : await findView(page, request.view))
        .locator(request.selector)
        .first()
        .click();
    case 'hover': {
      const target = request.view === null ? page : await findView(page, request.view);
      const place = request.position === null ? {} : { position: request.position };
      return target.locator(request.selector).first().hover(place);
    }
  }
}

/** The frame of a webview whose body says `data-view="<view>"`; waits for it. */
async function findView(page: Page, view: string): Promise<Frame> {
  for (let tries = 0; tries < 200; tries++) {
    for (const frame of page.frames()) {
      const name = await frame.evaluate(() => document.body?.dataset.view).catch(() => undefined);
      if (name === view) return frame;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`No webview "${view}" is open`);
}
