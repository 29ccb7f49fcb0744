// Reads jobs from standard input, drives Chromium through them, and writes a report to standard output:
// {"problems": [{"page", "kind", "detail"}], "views": how many views of pages were checked, and in milliseconds what kinds of checks have "spent" and each
// job "took"}.
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";
import { checkPage, spent } from "./page.js";
import { firstRun } from "./first-run.js";
import { byKeyboard, followRuns, journey, sessionEnds, signInByKeyboard, signOut, steerWorker, switchTenant } from "./flows.js";

const jobs = JSON.parse(readFileSync(0, "utf8"));
const axe = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

const browser = await chromium.launch({
  executablePath: jobs.chromium,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--disable-default-apps", "--disable-domain-reliability", "--disable-dev-shm-usage",
  ],
});
const report = { problems: [], views: 0, spent: {}, took: [] };
const sessions = {};

// profile is a browser profile of a user signed in earlier, or of a stranger.
async function profile(user) {
  const context = await browser.newContext({ baseURL: jobs.base, storageState: sessions[user] });
  context.setDefaultTimeout(60000);
  return context;
}

// Looking at a page leaves nothing behind: all pages of a user share a profile, and with it the files that it has fetched already.
const shared = {};
const sharedProfile = (user) => (shared[user] ??= profile(user));

// run does one job, in a profile of its own if none is given, and turns what it throws into a problem.
async function run(name, user, work, given) {
  const begin = performance.now();
  const context = await (given ?? profile(user));
  const problem = (kind, detail) => {
    report.problems.push({ page: name, kind, detail });
    process.stderr.write(`${name}: ${kind}: ${detail}\n`); // for whoever waits
  };
  try {
    await work(context, problem);
  } catch (error) {
    problem("failed", error.stack);
  } finally {
    if (!given) await context.close();
    report.took.push([name, Math.round(performance.now() - begin)]);
  }
}

// all does pieces of work, a few at a time.
const lanes = 3;
async function all(queue) {
  await Promise.all(Array.from({ length: lanes }, async () => {
    for (let next = queue.shift(); next; next = queue.shift()) await next();
  }));
}

await all(Object.entries(jobs.users).map(([name, account]) => () =>
  run(`sign in as ${name}`, undefined, async (context, problem) => {
    await signInByKeyboard(context, account, problem);
    sessions[name] = await context.storageState();
  }),
));
const flows = { byKeyboard, firstRun, followRuns, journey, sessionEnds, steerWorker, switchTenant };
await all([
  ...jobs.flows.map((flow) => () => run(flow.name, flow.user, (context, problem) => flows[flow.name](context, flow, problem))),
  ...jobs.pages.map((page) => () =>
    run(page.name, page.user, async (context, problem) => {
      const views = await checkPage(context, { ...page, axe, screenshots: jobs.screenshots }, problem);
      report.views += views;
    }, sharedProfile(page.user))),
]);
// Last: it ends the session that the others use.
for (const name of Object.keys(jobs.users).slice(0, 1)) await run(`sign out ${name}`, name, signOut);

await browser.close();
report.spent = spent;
process.stdout.write(JSON.stringify(report));
