// What people do over several pages.
const focused = (page) => page.evaluate(() => document.activeElement.id);

export async function signInByKeyboard(context, account, problem) {
  const page = await context.newPage();
  await page.goto("/runs");
  if ((await focused(page)) !== "email") problem("keyboard", `${await focused(page)} has the focus at first, not the address`);
  await page.keyboard.type(account.email);
  await page.keyboard.press("Tab");
  await page.keyboard.type(account.password);
  await Promise.all([page.waitForURL("**/runs"), page.keyboard.press("Enter")]);
  if (!(await page.getByText(account.email).isVisible())) problem("signed in", `the page does not say that ${account.email} is signed in`);
}

export async function signOut(context) {
  const page = await context.newPage();
  await page.goto("/runs");
  await Promise.all([page.waitForURL("**/sign-in"), page.getByRole("button", { name: "Sign out" }).click()]);
  await page.goto("/runs");
  await page.waitForURL("**/sign-in?*");
}

export async function switchTenant(context, { from, to, label }, problem) {
  const page = await context.newPage();
  await page.goto(`/runs?tenant=${from}`);
  await page.getByLabel("Tenant").selectOption({ label });
  await Promise.all([page.waitForURL(`**/runs?tenant=${to}`), page.getByRole("button", { name: "Switch" }).click()]);
  await page.goto("/runs");
  const shown = await page.getByLabel("Tenant").inputValue();
  if (shown !== to) problem("tenant", `the page has gone back to ${shown}`);
}

// trigger starts a run as a program would.
async function trigger(page, { token, workflow }) {
  const answer = await page.request.post("/tenon.runs.v1.RunService/Trigger", {
    headers: { Authorization: `Bearer ${token}` }, data: { run: { workflow, input: "Ada" } },
  });
  if (!answer.ok()) throw new Error(`trigger ${workflow}: ${answer.status()} ${await answer.text()}`);
  return (await answer.json()).runId;
}

// A run that starts while the list is shown appears, ends, and is opened and closed, and the page is not loaded again meanwhile.
export async function followRuns(context, flow, problem) {
  const page = await context.newPage();
  await page.goto(`/runs?tenant=${flow.tenant}`);
  await page.evaluate(() => {
    globalThis.tenonLoaded = document.querySelector("a.toggle");
    globalThis.tenonLoaded.focus();
  });
  const id = await trigger(page, flow);
  const row = page.locator(`[id="${id}"]`);
  await row.getByText("Completed").waitFor();
  if (!(await page.evaluate(() => globalThis.tenonLoaded && document.activeElement === globalThis.tenonLoaded))) problem("live", "the focus is lost when a run appears");
  const tasks = page.locator(`[id="tasks-${id}"]`);
  await row.getByRole("link").first().click();
  await tasks.waitFor();
  await row.getByRole("link").first().click();
  await tasks.waitFor({ state: "detached" });
  await page.goBack();
  await tasks.waitFor();
  if (new URL(page.url()).searchParams.get("run") !== id) problem("live", `the address of an opened run is ${page.url()}`);
  if (!(await page.evaluate(() => globalThis.tenonLoaded))) problem("live", "the page was loaded again");
}

// A paused page asks for nothing; one without an answer says so and recovers; one whose session has ended leads to the sign-in.
export async function pauseAndTrouble(context, { tenant }, problem) {
  const page = await context.newPage();
  await page.clock.install();
  await page.goto(`/runs?tenant=${tenant}`);
  let asked = 0;
  page.on("request", () => asked++);
  const state = page.locator("#live-state");
  await page.getByRole("button", { name: "Pause" }).click();
  const before = asked;
  await page.clock.runFor("10:00");
  if (asked !== before) problem("live", `a paused page has asked ${asked - before} times`);
  await state.getByText(/^Paused at/).waitFor();
  await Promise.all([page.waitForRequest("**/runs?*"), page.getByRole("button", { name: "Resume" }).click()]);
  await state.getByText("Live").waitFor();

  await page.route("**/runs?*", (route) => route.abort());
  await Promise.all([page.waitForRequest("**/runs?*"), page.clock.runFor("00:03")]);
  await state.getByText(/^Not updated since/).waitFor();
  await page.unroute("**/runs?*");
  await page.clock.runFor("01:00");
  await state.getByText("Live").waitFor();

  await context.clearCookies();
  await page.clock.runFor("00:03");
  await page.waitForURL("**/sign-in?*ended=1*");
  await page.getByText("Your session has ended").waitFor();
}
