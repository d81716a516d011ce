// What a browser says to a run's report: that it stays quiet, works, can be read in light and dark, on a phone and on
// paper. Needs Chromium at /usr/bin/chromium, or where CHROMIUM says.
//
// usage: node browser.mjs REPORT.html [FOLDER FOR SCREENSHOTS]
import { readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [report, screenshots] = process.argv.slice(2);
if (!report) {
  console.error("usage: node browser.mjs REPORT.html [FOLDER FOR SCREENSHOTS]");
  process.exit(2);
}
const address = pathToFileURL(resolve(report)).href;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 360, height: 780 };
// A4 less margins of 15 mm.
const PAPER = { width: 680, height: 1000 };

let failed = 0;
const check = (what, problems) => {
  const found = [problems].flat().filter(Boolean);
  failed += found.length ? 1 : 0;
  console.log(`${found.length ? "FAIL" : "ok  "} ${what}${found.length ? `: ${found.slice(0, 5).join("; ")}` : ""}`);
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

// Opens the page anew, and notes what it says and asks for.
const open = async (options = {}, hash = "") => {
  const context = await browser.newContext({ viewport: DESKTOP, ...options });
  const page = await context.newPage();
  const said = [];
  const asked = [];
  page.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => said.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => { said.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => asked.push(request.url()));
  await page.goto(address + hash);
  return { page, said, asked: () => asked.filter((url) => url.split("#")[0] !== address), close: () => context.close() };
};
const openAll = (page) => page.evaluate(() => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
const rows = (page) => page.$$eval("table.register tbody tr", (all) =>
  all.filter((row) => row.checkVisibility()).map((row) => ({ ...row.dataset, text: row.textContent.toLowerCase() })));
// The labels of plots that lie on a line, a dot or another label, or stand out of their plot.
const hidden = (page) => page.$$eval("svg", (all) => all.flatMap((svg) => {
  const drawn = [...svg.querySelectorAll("circle")].map((dot) => {
    const [x, y, r] = ["cx", "cy", "r"].map((name) => Number(dot.getAttribute(name)));
    return [x - r, y - r, x + r, y + r];
  });
  for (const path of svg.querySelectorAll("polyline")) {
    const points = path.getAttribute("points").trim().split(/\s+/).map((point) => point.split(",").map(Number));
    // Every line is short or goes along one direction of the plot, so a box around it has little else in it.
    points.slice(1).forEach(([x, y], at) => drawn.push([
      Math.min(x, points[at][0]), Math.min(y, points[at][1]), Math.max(x, points[at][0]), Math.max(y, points[at][1])]));
  }
  const labels = [...svg.querySelectorAll("text")].map((text) => {
    const { x, y, width, height } = text.getBBox();
    return { words: text.textContent.trim(), box: [x + 1, y + height * 0.25, x + width - 1, y + height * 0.8] };
  });
  const meet = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  const [right, bottom] = [svg.viewBox.baseVal.width, svg.viewBox.baseVal.height];
  return labels.filter(({ box }) => box[0] < 0 || box[1] < 0 || box[2] > right || box[3] > bottom ||
    drawn.some((other) => meet(box, other)) || labels.some((other) => other.box !== box && meet(box, other.box))
  ).map(({ words }) => `"${words}" in ${svg.querySelector("title").textContent.slice(0, 60)}`);
}));
const picture = async (what, name, more) => screenshots && what.screenshot({ path: join(screenshots, `${name}.png`), ...more });

const bytes = statSync(report).size;
check(`it is small: ${bytes} bytes of 2000000`, bytes >= 2_000_000 && "too large");

{
  const { page, said, asked, close } = await open();
  const every = await rows(page);
  const count = () => page.$eval("#filter output", (output) => output.value);
  const filter = page.locator("#filter");
  const verdicts = [...new Set(every.map((row) => row.verdict))];
  const problems = [];
  const expect = async (what, fits) => {
    const wanted = every.filter(fits).length;
    const says = `${wanted} of ${every.length} shown`;
    // What a reset sets off comes a moment later.
    await page.waitForFunction((says) => document.querySelector("#filter output").value === says, says, { timeout: 2000 })
      .catch(() => {});
    const shown = await rows(page);
    if (shown.length !== wanted || !shown.every(fits)) problems.push(`${what}: ${shown.length} are shown, not ${wanted}`);
    if ((await count()) !== says) problems.push(`${what}: says ${await count()}, not ${says}`);
  };
  await expect("at first", () => true);
  check("every claim is in the register", every.length === 0 && "there is none");
  for (const verdict of verdicts) {
    await filter.locator("select[name=verdict]").selectOption(verdict);
    await expect(verdict, (row) => row.verdict === verdict);
  }
  check("the filter by verdict shows those and no others, and counts them", problems.splice(0));
  await filter.locator("button").click();
  await expect("all", () => true);
  for (const section of new Set(every.map((row) => row.section))) {
    await filter.locator("select[name=section]").selectOption(section);
    await expect(section, (row) => row.section === section);
  }
  check("so does the filter by section", problems.splice(0));
  await filter.locator("button").click();
  const word = (every[0]?.text ?? "").match(/[a-z]{4,}/)?.[0] ?? "";
  await filter.locator("input").fill(word);
  await expect(word, (row) => row.text.includes(word));
  await filter.locator("input").fill("no claim says this");
  await expect("no claim", () => false);
  check("and the filter by words", problems.splice(0));
  await filter.locator("input").focus();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await expect("reset by keyboard", () => true);
  await page.locator(`a[data-show="${verdicts[0]}"]`).click();
  await expect("a count at the top", (row) => row.verdict === verdicts[0]);
  check("the keyboard shows all again, and the counts at the top choose their own", problems.splice(0));

  await filter.locator("button").click();
  const first = page.locator("table.register tbody a").first();
  const target = (await first.getAttribute("href")).slice(1);
  await first.focus();
  await page.keyboard.press("Enter");
  await page.waitForTimeout(100);
  const opened = await page.evaluate((id) => document.getElementById(id)?.open, target);
  check(`a link of the register opens its claim (${target})`, !opened && "it stays closed");
  check("the console stays silent", said);
  check("nothing is asked of anybody", asked());
  const dead = await page.$$eval("a[href^='#']", (links) =>
    links.map((link) => link.getAttribute("href").slice(1)).filter((id) => !document.getElementById(id)));
  check("every link within the page leads somewhere", dead);
  const twice = await page.$$eval("[id]", (all) => all.map((part) => part.id).filter((id, at, ids) => ids.indexOf(id) !== at));
  check("no name is there twice", twice);
  await close();
}

{
  const hash = await open().then(async ({ page, close }) => {
    const ids = await page.$$eval("details.claim", (all) => all.map((part) => part.id));
    await close();
    return ids.includes("A7-1") ? "A7-1" : ids[0];
  });
  const { page, close } = await open({}, `#${hash}`);
  const at = await page.evaluate((id) => {
    const part = document.getElementById(id);
    return { open: part.open, top: part.getBoundingClientRect().top, height: innerHeight };
  }, hash);
  check(`an address with #${hash} opens it and goes there`, (!at.open || at.top < -5 || at.top > at.height) && JSON.stringify(at));
  await page.evaluate(() => scrollTo(0, 0));
  const { x, y, width, height } = await page.locator(`[id="${hash}"]`).boundingBox();
  await picture(page, "claim", { fullPage: true, clip: { x, y, width, height: Math.min(height, 1800) } });
  await picture(page, "head");
  await close();
}

for (const colorScheme of ["light", "dark"]) {
  for (const viewport of [DESKTOP, PHONE]) {
    const { page, said, close } = await open({ colorScheme, viewport });
    const name = `${viewport.width}-${colorScheme}`;
    await picture(page, `${name}-closed`, { fullPage: true });
    await openAll(page);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    check(`${name}: it does not scroll sideways`, wide > 0 && `${wide} px too wide`);
    // Letters in plots shrink with them.
    const letters = await page.$$eval("svg text", (all) => Math.min(...all.map((text) =>
      parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a), 99));
    check(`${name}: letters in plots are 10 px high or more`, letters < 10 && `${letters} px`);
    check(`${name}: labels of plots lie on no line, dot or other label`, await hidden(page));
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() =>
      globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], resultTypes: ["violations"] }));
    check(`${name}: WCAG A and AA, contrast among them, with everything open`,
      violations.map((rule) => `${rule.id}: ${rule.nodes.length}, such as ${rule.nodes[0].target} ${rule.nodes[0].failureSummary}`));
    check(`${name}: the console stays silent`, said);
    await close();
  }
}

{
  const { page, close } = await open({ colorScheme: "dark", viewport: PAPER });
  await page.emulateMedia({ media: "print" });
  const lost = await page.$$eval("details.claim", (all) => all.filter((part) =>
    [...part.children].some((child) => child.textContent.trim() && !child.checkVisibility({ contentVisibilityAuto: true })) ||
    part.scrollHeight < 20).map((part) => part.id || part.className));
  check("on paper every claim is open", lost);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  check("on paper nothing is wider than it", wide > 0 && `${wide} px too wide`);
  const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  check("on paper the background is white", paper !== "rgb(255, 255, 255)" && paper);
  await close();
}

{
  const { page, said, close } = await open({ javaScriptEnabled: false });
  const seen = await page.locator("table.register tbody tr:visible").count();
  const filter = await page.locator("#filter").isVisible();
  check("without script the register is there, and the filter is not", (seen === 0 || filter) && `${seen} rows, filter ${filter}`);
  check("without script the console stays silent", said);
  await close();
}

await browser.close();
process.exit(failed ? 1 : 0);
