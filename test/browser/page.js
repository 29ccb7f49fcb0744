// What must hold for every page.
import { join } from "node:path";

const tags = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"];
const schemes = ["light", "dark"];
const widths = [1280, 390];
const height = 844;
const shiftAllowed = 0.01;

// spent is how long the checks of all pages have taken, in milliseconds by kind.
export const spent = {};

async function timed(kind, work) {
  const begin = performance.now();
  try {
    return await work();
  } finally {
    spent[kind] = Math.round((spent[kind] ?? 0) + performance.now() - begin);
  }
}

// checkPage opens a page at each width and checks it in both colour schemes; it returns how many views it has checked.
export async function checkPage(context, job, problem) {
  const page = await context.newPage();
  await page.addInitScript({ content: job.axe });
  await page.addInitScript(watchPolicyAndShifts);
  const told = { width: 0 };
  const problemHere = (kind, detail) => problem(kind, `at ${told.width} px: ${detail}`);
  const watching = { on: !job.press };
  watch(page, job.status ?? 200, (kind, detail) => watching.on && problemHere(kind, detail));
  let views = 0;
  for (const width of widths) {
    told.width = width;
    await page.setViewportSize({ width, height });
    await timed("load", () => arrive(page, job, watching, problemHere));
    for (const colorScheme of schemes) {
      await page.emulateMedia({ colorScheme });
      await checkView(page, job, { width, colorScheme }, problemHere);
      views++;
    }
    await timed("keyboard", () => checkKeyboard(page, problemHere));
    for (const violation of await page.evaluate(() => globalThis.tenonSeen.policy)) problemHere("policy", violation);
  }
  await page.close();
  return views;
}

// arrive loads the page, or sends the form that leads to it; the page with the form is checked by a job of its own.
async function arrive(page, { path, status = 200, fill, press }, watching, problem) {
  watching.on = !press;
  let answer = await page.goto(path);
  if (press) {
    for (const [selector, value] of Object.entries(fill ?? {})) {
      await page.locator(selector).evaluate((element, text) => { element.value = text; }, value);
    }
    watching.on = true;
    [answer] = await Promise.all([page.waitForNavigation(), page.click(press)]);
  }
  // A live page is looked at once it is live.
  if (await page.locator("[hx-sse\\:connect]#live").count()) await page.locator("#live-state").getByText("Live").waitFor();
  if (answer.status() !== status) problem("status", `answered ${answer.status()}, want ${status}`);
  const shift = await page.evaluate(() => globalThis.tenonSeen.shift);
  if (shift > shiftAllowed) problem("shift", `the page moves while it loads: ${shift}`);
}

async function checkView(page, { name, screenshots }, { width, colorScheme }, problem) {
  const { violations } = await timed("axe", () => page.evaluate((values) =>
    globalThis.axe.run(document, { runOnly: { type: "tag", values }, resultTypes: ["violations"], elementRef: false }), tags));
  for (const { id, help, nodes } of violations) {
    for (const node of nodes) problem("axe", `${colorScheme}: ${id}: ${help}: ${node.target}: ${node.failureSummary} ${node.html}`);
  }
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (over > 0) problem("overflow", `the document is ${over} px wider than the window`);
  if (screenshots) await timed("picture", () => page.screenshot({ path: join(screenshots, `${name}-${colorScheme}-${width}.png`), fullPage: true }));
}

function watchPolicyAndShifts() {
  globalThis.tenonSeen = { policy: [], shift: 0 };
  document.addEventListener("securitypolicyviolation", (event) => {
    globalThis.tenonSeen.policy.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
  });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) globalThis.tenonSeen.shift += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
}

// watch reports what the console and the network complain about; the page itself may answer with the status that is expected of it.
function watch(page, status, problem) {
  page.on("console", (message) => {
    const own = status >= 400 && message.location().url === page.url() && message.text().includes(`status of ${status}`);
    if (message.type() === "error" && !own) problem("console", `${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => problem("console", error.stack));
  page.on("requestfailed", (request) => {
    // An update that a newer one has replaced, or that the end of the page has cut short.
    if (request.failure().errorText !== "net::ERR_ABORTED") problem("request", `${request.url()}: ${request.failure().errorText}`);
  });
  page.on("response", (answer) => {
    const own = answer.request().isNavigationRequest() && answer.status() === status;
    if (answer.status() >= 400 && !own) problem("request", `${answer.url()}: ${answer.status()}`);
  });
}

// checkKeyboard goes through the page by Tab and reports controls that it does not reach, or whose focus is not to be seen. The page looks at each stop
// by itself, once the focus is there and scrolled to: the keys are pressed many at a time.
async function checkKeyboard(page, problem) {
  const count = await page.evaluate(watchFocus);
  const spare = 3; // new rows may come in meanwhile
  const atOnce = 25;
  for (let pressed = 0; pressed < count + spare; pressed += atOnce) {
    // Sent in this order, without waiting for an answer in between.
    await Promise.all(Array.from({ length: atOnce }, () => [page.keyboard.down("Tab"), page.keyboard.up("Tab")]).flat());
    if (await page.evaluate(() => globalThis.tenonFocus.again)) break;
  }
  const { faults, missed } = await page.evaluate(() => ({
    faults: globalThis.tenonFocus.faults,
    missed: globalThis.tenonFocus.controls.filter((element) => element.isConnected && !globalThis.tenonFocus.reached.has(element)).map((element) => element.outerHTML.slice(0, 200)),
  }));
  for (const fault of faults) problem("focus", fault);
  for (const control of missed) problem("keyboard", `Tab does not reach ${control}`);
}

// watchFocus begins a walk at the page's top, and returns how many controls it should meet.
function watchFocus() {
  const controls = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
  const seen = { faults: [], reached: new Set(), again: false };
  seen.controls = [...document.querySelectorAll(controls)].filter((element) =>
    // Tab stops once at a group of radio buttons; arrows go on from there.
    !element.disabled && !(element.type === "radio" && !element.checked) && element.checkVisibility({ visibilityProperty: true }));
  const faultOf = (element) => {
    const name = element.outerHTML.slice(0, 200);
    const style = getComputedStyle(element);
    if (style.outlineStyle === "none" || parseFloat(style.outlineWidth) < 2) return `no outline on ${name}`;
    const box = element.getClientRects()[0];
    const [x, y] = [box.left + box.width / 2, box.top + Math.min(box.height, innerHeight) / 2];
    const top = document.elementFromPoint(x, y);
    if (!top || !(element.contains(top) || top.contains(element))) return `covered or outside the window: ${name}`;
    return "";
  };
  globalThis.tenonFocus = seen;
  if (!globalThis.tenonFocusWatched) {
    globalThis.tenonFocusWatched = true;
    document.addEventListener("keyup", (event) => {
      const now = globalThis.tenonFocus;
      if (event.key !== "Tab" || now.again) return;
      const element = document.activeElement;
      if (!element || element === document.body || now.reached.has(element)) {
        now.again = now.reached.size > 0;
        return;
      }
      now.reached.add(element);
      const fault = now.faultOf(element);
      if (fault) now.faults.push(fault);
    }, true);
  }
  seen.faultOf = faultOf;
  document.activeElement.blur();
  document.getSelection().removeAllRanges();
  document.body.tabIndex = -1;
  document.body.focus();
  document.body.removeAttribute("tabindex");
  return seen.controls.length;
}
