// Reads jobs from standard input, drives Chromium through them, and writes a report to standard output:
// {"problems": [{"page", "kind", "detail"}], "views": how many views of pages were checked}.
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";
import { checkPage } from "./page.js";
import { byKeyboard, followRuns, journey, sessionEnds, signInByKeyboard, signOut, switchTenant } from "./flows.js";

const jobs = JSON.parse(readFileSync(0, "utf8"));
const axe = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

const browser = await chromium.launch({
  executablePath: jobs.chromium,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--disable-default-apps", "--disable-domain-reliability", "--disable-dev-shm-usage",
  ],
});
const report = { problems: [], views: 0 };
const sessions = {};

// run does one job in a browser profile of its own, of a user signed in earlier or of a stranger, and turns what it throws into a problem.
async function run(name, user, work) {
  const context = await browser.newContext({ baseURL: jobs.base, storageState: sessions[user] });
  context.setDefaultTimeout(60000);
  const problem = (kind, detail) => {
    report.problems.push({ page: name, kind, detail });
    process.stderr.write(`${name}: ${kind}: ${detail}\n`); // for whoever waits
  };
  try {
    await work(context, problem);
  } catch (error) {
    problem("failed", error.stack);
  } finally {
    await context.close();
  }
}

for (const [name, account] of Object.entries(jobs.users)) {
  await run(`sign in as ${name}`, undefined, async (context, problem) => {
    await signInByKeyboard(context, account, problem);
    sessions[name] = await context.storageState();
  });
}

const queue = jobs.pages.map((page) => () =>
  run(page.name, page.user, async (context, problem) => {
    const views = await checkPage(context, { ...page, axe, screenshots: jobs.screenshots }, problem);
    report.views += views;
  }),
);
const flows = { byKeyboard, followRuns, journey, sessionEnds, switchTenant };
for (const flow of jobs.flows) queue.unshift(() => run(flow.name, flow.user, (context, problem) => flows[flow.name](context, flow, problem)));
const lanes = 2;
await Promise.all(Array.from({ length: lanes }, async () => {
  for (let next = queue.shift(); next; next = queue.shift()) await next();
}));
// Last: it ends the session that the others use.
for (const name of Object.keys(jobs.users).slice(0, 1)) await run(`sign out ${name}`, name, signOut);

await browser.close();
process.stdout.write(JSON.stringify(report));
