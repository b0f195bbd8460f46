// Opens a report in Chromium as people do: light, dark, wide, phone, print. Fails where anything runs, loads or overflows.
//   node report.mjs INDEX_HTML OUTPUT_FOLDER      needs playwright-core and CHROMIUM (default /usr/bin/chromium)
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { chromium } = createRequire(import.meta.url)("playwright-core");
const [page_path, folder] = process.argv.slice(2);
const address = pathToFileURL(page_path).href;
const views = [
  { name: "light-wide", colorScheme: "light", viewport: { width: 1280, height: 900 } },
  { name: "dark-wide", colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  { name: "light-phone", colorScheme: "light", viewport: { width: 375, height: 812 }, isMobile: true, hasTouch: true },
  { name: "dark-phone", colorScheme: "dark", viewport: { width: 375, height: 812 }, isMobile: true, hasTouch: true },
];
const faults = [];
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
for (const { name, ...options } of views) {
  const context = await browser.newContext({ ...options, deviceScaleFactor: 1 });
  const page = await context.newPage();
  page.on("dialog", async (dialog) => { faults.push(`${name}: a dialog opened: ${dialog.message()}`); await dialog.dismiss(); });
  page.on("console", (message) => faults.push(`${name}: the console says: ${message.text()}`));
  page.on("pageerror", (error) => faults.push(`${name}: ${error.message}`));
  page.on("popup", () => faults.push(`${name}: a window opened`));
  page.on("request", (request) => { if (request.url() !== address) faults.push(`${name}: it asked for ${request.url()}`); });
  await page.goto(address, { waitUntil: "load" });
  const found = await page.evaluate(() => ({
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    wide: [...document.querySelectorAll("main *")].filter((e) => !e.closest(".scroll, svg, blockquote, pre") && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.tagName + "." + e.className).slice(0, 5),
    scripts: document.querySelectorAll("script, iframe, object, embed, link, form, base").length,
    handlers: [...document.querySelectorAll("*")].flatMap((e) => [...e.attributes]).filter((a) => /^on/i.test(a.name) || /javascript:/i.test(a.value)).map((a) => a.name),
    links: [...document.querySelectorAll("a")].filter((a) => !a.getAttribute("href").startsWith("#")).map((a) => a.href),
    ids: [...document.querySelectorAll("[id]")].map((e) => e.id),
    veiled: [...document.querySelectorAll(".veil blockquote")].filter((e) => getComputedStyle(e).filter === "none").length,
    background: getComputedStyle(document.body).backgroundColor,
    text: document.body.innerText,
  }));
  if (found.overflow > 0) faults.push(`${name}: ${found.overflow} pixels too wide`);
  if (found.wide.length) faults.push(`${name}: beyond the edge: ${found.wide}`);
  if (found.scripts) faults.push(`${name}: ${found.scripts} elements that could load or run`);
  if (found.handlers.length) faults.push(`${name}: handlers ${found.handlers}`);
  if (found.links.length) faults.push(`${name}: links leave the page: ${found.links}`);
  if (new Set(found.ids).size < found.ids.length) faults.push(`${name}: an id stands twice`);
  if (found.veiled) faults.push(`${name}: ${found.veiled} veiled examples are not veiled`);
  if (/[\u202a-\u202e\u2066-\u2069\u0000-\u0008\u000e-\u001f]/.test(found.text)) faults.push(`${name}: unseen characters`);
  const dark = found.background.match(/\d+/g).slice(0, 3).every((channel) => Number(channel) < 64);
  if (dark !== name.startsWith("dark")) faults.push(`${name}: the background is ${found.background}`);
  const veil = page.locator(".veil input").first();
  if (await veil.count()) {
    await veil.check();
    const filter = await page.locator(".veil blockquote").first().evaluate((e) => getComputedStyle(e).filter);
    if (filter !== "none") faults.push(`${name}: an unveiled example stays blurred`);
    await veil.uncheck();
  }
  await page.locator("summary").evaluateAll((all) => all.forEach((e) => { e.parentElement.open = true; }));
  const opened = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  if (opened > 0) faults.push(`${name}: ${opened} pixels too wide with everything opened`);
  await page.locator("summary").evaluateAll((all) => all.forEach((e) => { e.parentElement.open = false; }));
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  if (name === "light-wide") await page.pdf({ path: `${folder}/print.pdf`, format: "A4" });
  await context.close();
}
await browser.close();
console.log(JSON.stringify(faults, null, 1));
process.exit(faults.length ? 1 : 0);
