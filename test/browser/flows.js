// What people do over several pages.
const focused = (page) => page.evaluate(() => document.activeElement.id);

export async function signInByKeyboard(context, account, problem) {
  const page = await context.newPage();
  await page.goto("/");
  if ((await focused(page)) !== "email") problem("keyboard", `${await focused(page)} has the focus at first, not the address`);
  await page.keyboard.type(account.email);
  await page.keyboard.press("Tab");
  await page.keyboard.type(account.password);
  await Promise.all([page.waitForURL(/\/t\/|\/tenants\/new/), page.keyboard.press("Enter")]);
  if (!(await page.getByText(account.email).isVisible())) problem("signed in", `the page does not say that ${account.email} is signed in`);
}

export async function signOut(context) {
  const page = await context.newPage();
  await page.goto("/");
  await Promise.all([page.waitForURL("**/sign-in"), page.getByRole("button", { name: "Sign out" }).click()]);
  await page.goto("/");
  await page.waitForURL("**/sign-in?*");
}

export async function switchTenant(context, { from, to, label }, problem) {
  const page = await context.newPage();
  await page.goto(`/t/${from}/runs`);
  await page.locator(".tenants summary").click();
  await Promise.all([page.waitForURL(`**/t/${to}/`), page.getByRole("link", { name: label, exact: true }).click()]);
  await page.goto("/");
  if (!page.url().endsWith(`/t/${to}/`)) problem("tenant", `the page has gone to ${page.url()}`);
}

// Palette, letters and themes: nothing needs the mouse.
export async function byKeyboard(context, { tenant, run }, problem) {
  const page = await context.newPage();
  await page.goto(`/t/${tenant}/`);
  await page.keyboard.press("g");
  await Promise.all([page.waitForURL(`**/t/${tenant}/runs`), page.keyboard.press("r")]);
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("k");
  const rows = page.locator("[data-row]");
  const first = await rows.first().evaluate((row) => row === document.activeElement);
  if (!first) problem("keyboard", "j, j, k do not lead to the first row");
  await page.keyboard.press("x");
  await page.getByText("1 selected").waitFor();
  await page.keyboard.press("/");
  if ((await focused(page)) !== "id") problem("keyboard", "/ does not lead to the filter");
  await page.keyboard.press("Control+k");
  await page.keyboard.type("go to tok");
  await Promise.all([page.waitForURL(`**/t/${tenant}/tokens`), page.keyboard.press("Enter")]);
  await page.keyboard.press("Control+k");
  await page.keyboard.type("trigger greet");
  await page.getByRole("option", { name: "Trigger greet" }).waitFor();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: /^Trigger greet/ }).waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+k");
  await page.keyboard.type(run);
  await Promise.all([page.waitForURL(`**/t/${tenant}/runs/${run}`), page.keyboard.press("Enter")]);
  await page.keyboard.press("?");
  await page.getByRole("heading", { name: "Keyboard" }).waitFor();
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Dark" }).click();
  await page.reload();
  const theme = await page.evaluate(() => [document.documentElement.dataset.theme, getComputedStyle(document.documentElement).colorScheme].join(" "));
  if (theme !== "dark dark") problem("theme", `after choosing dark and a reload the theme is ${theme}`);
}

// trigger starts a run as a program would.
async function trigger(page, { token, workflow }) {
  const answer = await page.request.post("/tenon.runs.v1.RunService/Trigger", {
    headers: { Authorization: `Bearer ${token}` }, data: { run: { workflow, input: "Ada" } },
  });
  if (!answer.ok()) throw new Error(`trigger ${workflow}: ${answer.status()} ${await answer.text()}`);
  return (await answer.json()).runId;
}

// A run that starts while the list is shown appears and ends in it: the page is not loaded again, and focus and selection stay where they are.
export async function followRuns(context, flow, problem) {
  const page = await context.newPage();
  await page.goto(`/t/${flow.tenant}/runs`);
  await page.locator("#live-state").getByText("Live").waitFor();
  await page.locator("input[name=run]").nth(3).check();
  const chosen = await page.locator("input[name=run]").nth(3).inputValue();
  await page.evaluate(() => {
    globalThis.tenonLoaded = document.querySelector("[data-row]");
    globalThis.tenonLoaded.focus();
  });
  const id = await trigger(page, flow);
  await page.locator(`[id="${id}"]`).getByText("Completed").waitFor();
  if (!(await page.evaluate(() => globalThis.tenonLoaded && document.activeElement === globalThis.tenonLoaded))) problem("live", "the focus is lost when a run appears");
  if (!(await page.locator(`input[value="${chosen}"]`).isChecked())) problem("live", "the selection is lost when a run appears");
  await page.getByText("1 selected").waitFor();
}

// A page whose session is ended elsewhere leads to the sign-in, by itself.
export async function sessionEnds(context, { tenant }) {
  const page = await context.newPage();
  await page.goto(`/t/${tenant}/runs`);
  await page.locator("#live-state").getByText("Live").waitFor();
  await signOut(context);
  await page.waitForURL("**/sign-in?*ended=1*");
  await page.getByText("Your session has ended").waitFor();
}

// A worker that is paused, resumed and drained from its page: another page shows each of it without being loaded again, and no run is needed for that.
export async function steerWorker(context, flow, problem) {
  const list = await context.newPage();
  await list.goto(`/t/${flow.tenant}/workers`);
  await list.locator("#live-state").getByText("Live").waitFor();
  await list.evaluate(() => { globalThis.tenonLoaded = true; });
  const row = list.locator(`[id="${flow.worker}"]`);
  await row.getByText("Connected").waitFor();

  const page = await context.newPage();
  await page.goto(`/t/${flow.tenant}/workers/${flow.worker}`);
  await Promise.all([page.waitForResponse((answer) => answer.request().method() === "POST"), page.getByRole("button", { name: "Pause" }).click()]);
  await row.getByText("Paused").waitFor();
  const run = await context.newPage();
  await run.goto(`/t/${flow.tenant}/runs/${await trigger(run, flow)}`);
  await headStatus(run, "Queued");
  await Promise.all([page.waitForResponse((answer) => answer.request().method() === "POST"), page.getByRole("button", { name: "Resume" }).click()]);
  await headStatus(run, "Completed");
  await row.getByText("Connected").waitFor();

  await page.getByRole("link", { name: "Drain…" }).click();
  await page.locator("#dialog").getByRole("button", { name: "Drain the worker" }).click();
  await row.getByText("Gone").waitFor();
  await page.locator("#live .head").getByText("Gone").waitFor();
  if (await page.getByRole("button", { name: "Pause" }).count()) problem("worker", "a worker that is gone can still be paused");
  if (!(await list.evaluate(() => globalThis.tenonLoaded === true))) problem("live", "the list of workers was loaded again");
}

export async function signUp(page, email, password) {
  await page.goto("/sign-up");
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password").fill(password);
  await Promise.all([page.waitForURL("**/tenants/new"), page.getByRole("button", { name: "Sign up" }).click()]);
}

async function triggerOnPage(page, tenant, workflow) {
  await page.goto(`/t/${tenant}/runs`);
  await page.getByRole("link", { name: "Trigger…" }).first().click();
  await page.locator("#dialog").getByRole("link", { name: workflow }).click();
  await page.locator("#dialog #input").fill('"Ada"');
  await Promise.all([page.waitForURL("**/runs/run_*"), page.locator("#dialog").getByRole("button", { name: "Trigger" }).click()]);
  await page.evaluate(() => { globalThis.tenonLoaded = true; });
}

export const headStatus = (page, status) => page.locator("#live .head").getByText(status, { exact: true }).waitFor();

// From nothing to a run that a worker of one's own does, with the server restarted under way; then cancel, replay, a viewer, and the token's end.
// control asks the test to do what happens outside of the browser.
export async function journey(context, { control, workflow }, problem) {
  const outside = async (what, body = "") => {
    const answer = await fetch(`${control}/${what}`, { method: "POST", body });
    if (!answer.ok) throw new Error(`${what}: ${await answer.text()}`);
    return answer.text();
  };
  const stays = async (page, when) => {
    if (!(await page.evaluate(() => globalThis.tenonLoaded === true))) problem("live", `the page was loaded again: ${when}`);
  };
  const page = await context.newPage();
  await signUp(page, "owner@example.com", "a long enough password");
  await page.getByLabel("Short name").fill("journey");
  await Promise.all([page.waitForURL("**/t/journey/"), page.getByRole("button", { name: "Create tenant" }).click()]);
  await page.getByText("Nothing has run here yet").waitFor();

  await page.goto("/t/journey/tokens");
  await page.getByRole("link", { name: "New token" }).click();
  await page.locator("#dialog #token-name").fill("my worker");
  await Promise.all([page.waitForURL("**/tokens/new"), page.locator("#dialog").getByRole("button", { name: "Make the token" }).click()]);
  await outside("worker", (await page.getByLabel("The token", { exact: true }).innerText()).trim());

  await triggerOnPage(page, "journey", workflow);
  await headStatus(page, "Running");
  await page.getByText("working on it").waitFor(); // its log
  await outside("restart");
  await outside("release");
  await headStatus(page, "Completed");
  await stays(page, "between the server's restart and the run's end");
  const lines = await page.locator("[data-logs] li").count();
  if (lines !== 1) problem("logs", `after the server's restart the one line of the log is there ${lines} times`);
  const run = page.url();

  await triggerOnPage(page, "journey", workflow);
  await headStatus(page, "Running");
  await page.getByRole("link", { name: "Cancel…" }).click();
  await Promise.all([page.waitForURL("**/runs/run_*"), page.locator("#dialog").getByRole("button", { name: "Cancel the run" }).click()]);
  await page.getByText("The run is being cancelled.").waitFor();
  await headStatus(page, "Cancelled");

  await page.goto("/t/journey/members");
  const other = await context.browser().newContext({ baseURL: new URL(page.url()).origin });
  const theirs = await other.newPage();
  await signUp(theirs, "looker@example.com", "a long enough password");
  await page.getByRole("link", { name: "Add a member" }).click();
  await page.locator("#dialog #member-email").fill("looker@example.com");
  await page.locator("#dialog #member-role").selectOption("viewer");
  await Promise.all([page.waitForURL("**/members"), page.locator("#dialog").getByRole("button", { name: "Add" }).click()]);

  // Side by side: the viewer sees what the owner starts, and can do nothing to it, in the page or around it.
  await page.goto(run);
  await theirs.goto(run);
  await theirs.locator("#live-state").getByText("Live").waitFor();
  await theirs.evaluate(() => { globalThis.tenonLoaded = true; });
  await page.getByRole("link", { name: "Replay…" }).click();
  await Promise.all([page.waitForURL(run), page.locator("#dialog").getByRole("button", { name: "Replay" }).click()]);
  await headStatus(theirs, "Running");
  await stays(theirs, "when somebody else replays the run");
  for (const offer of ["Cancel…", "Replay…", "Trigger…"]) if (await theirs.getByText(offer).count()) problem("viewer", `a viewer is offered ${offer}`);
  const forged = await theirs.evaluate(async (path) => {
    const csrf = document.querySelector("[name=csrf]").value;
    return (await fetch(`${path}/cancel`, { method: "POST", body: new URLSearchParams({ csrf }) })).status;
  }, run);
  if (forged !== 403) problem("viewer", `a viewer's forged cancel is answered with ${forged}`);
  await outside("release");
  await headStatus(theirs, "Completed");
  await headStatus(page, "Completed");
  await other.close();

  await page.goto("/t/journey/tokens");
  await page.getByRole("link", { name: "Revoke my worker" }).click();
  await Promise.all([page.waitForURL("**/tokens"), page.locator("#dialog").getByRole("button", { name: "Revoke the token" }).click()]);
  const why = await outside("ended");
  if (!/revoked|unauthenticated/i.test(why)) problem("revoke", `the worker ended with: ${why}`);
}
