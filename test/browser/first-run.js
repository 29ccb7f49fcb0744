// The way of somebody who has never seen Tenon, by what the pages say: from signing up to the result of a run that a program of theirs has done.
import { headStatus, signUp } from "./flows.js";

export async function firstRun(context, { control, tenant }, problem) {
  const outside = async (what, body) => {
    const answer = await fetch(`${control}/${what}`, { method: "POST", body });
    if (!answer.ok) throw new Error(`${what}: ${await answer.text()}`);
  };
  const page = await context.newPage();
  await signUp(page, "newcomer@example.com", "a long enough password");
  await page.getByLabel("Short name").fill(tenant);
  await Promise.all([page.waitForURL(`**/t/${tenant}/`), page.getByRole("button", { name: "Create tenant" }).click()]);
  await page.getByText("Nothing has run here yet").waitFor();
  await page.locator("#live-state").getByText("Live").waitFor();
  const overview = await context.newPage(); // left open beside
  await overview.goto(`/t/${tenant}/`);
  await overview.locator("#live-state").getByText("Live").waitFor();
  await overview.evaluate(() => { globalThis.tenonLoaded = true; });

  await Promise.all([page.waitForURL("**/first-worker"), page.getByRole("button", { name: "Set up a first worker" }).click()]);
  await page.getByText("No worker yet").waitFor();
  await page.evaluate(() => { globalThis.tenonLoaded = true; });
  // What the buttons put on the clipboard, in the order in which the page numbers them.
  const copied = async (label) => {
    const text = await page.getByRole("button", { name: `Copy ${label}` }).getAttribute("data-copy");
    if (text !== await page.getByLabel(label, { exact: true }).innerText()) problem("copy", `${label}: what is copied is not what is shown`);
    return text;
  };
  await outside("paste", await copied("Commands that make the folder"));
  await outside("save", await copied("The first worker’s code"));
  await outside("start", await copied("Commands that start the worker"));
  await page.getByText("Worker connected").waitFor();
  await overview.getByText("Ready for a first run").waitFor();

  await page.getByRole("link", { name: "Trigger greet…" }).click();
  await Promise.all([page.waitForURL("**/runs/run_*"), page.locator("#dialog").getByRole("button", { name: "Trigger" }).click()]);
  await headStatus(page, "Completed");
  await page.getByText('"Hello, Ada!"').first().waitFor();
  await overview.locator(".tiles").getByText("Completed").waitFor();
  if (!(await overview.evaluate(() => globalThis.tenonLoaded === true))) problem("live", "the overview was loaded again");
}
