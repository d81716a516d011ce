// Checks a run's messages.ndjson: against the published schema, and in Cucumber's own HTML formatter.
//
// usage: node formats.mjs DIR PAGE      PAGE is where the formatter's page is written
import { createReadStream, createWriteStream, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";
import { pathToFileURL } from "node:url";

import { CucumberHtmlStream } from "@cucumber/html-formatter";
import Ajv from "ajv/dist/2020.js";
import { chromium } from "playwright-core";

const [folder, page] = process.argv.slice(2);
const verdicts = JSON.parse(readFileSync(join(folder, "verdicts.json"), "utf8"));

function check(what, problems) {
  console.log(problems.length === 0 ? `ok   ${what}` : `FAIL ${what}: ${problems.slice(0, 5).join("; ")}`);
  if (problems.length > 0) process.exitCode = 1;
}

async function read() {
  const schema = createRequire(import.meta.url)("@cucumber/messages/schema");
  const valid = new Ajv({ strict: false }).compile(schema);
  const [messages, problems] = [[], []];
  let line = 0;
  for await (const text of createInterface({ input: createReadStream(join(folder, "messages.ndjson")) })) {
    line += 1;
    const message = JSON.parse(text);
    messages.push(message);
    const [error] = valid(message) ? [] : valid.errors;
    if (error) problems.push(`line ${line}: ${error.instancePath} ${error.message}`);
  }
  const { version } = JSON.parse(readFileSync(new URL("node_modules/@cucumber/messages/package.json", import.meta.url)));
  if (messages[0]?.meta?.protocolVersion !== version) problems.push(`line 1: the protocol is not that of ${version}`);
  check(`messages.ndjson: ${line} messages are valid against Cucumber's schema`, problems);
  return messages;
}

// What a step of a claim, or of one of its controls, must have come to where the claim does not hold.
const SHOWN = { fails: "FAILED", inconclusive: "UNKNOWN", "not-run": "SKIPPED", "known-deviation": "PENDING" };

function told(messages) {
  const all = (kind) => messages.flatMap((message) => message[kind] ?? []);
  const results = new Map();
  for (const { testCaseStartedId, testStepResult } of all("testStepFinished")) {
    results.set(testCaseStartedId, [...(results.get(testCaseStartedId) ?? []), testStepResult.status]);
  }
  const statuses = (place) => {
    const pickle = all("pickle").find(({ uri, location }) => uri === place.file && location.line === place.line);
    const testCase = all("testCase").find(({ pickleId }) => pickleId === pickle?.id);
    const last = all("testCaseStarted").findLast(({ testCaseId }) => testCaseId === testCase?.id);
    return results.get(last?.id) ?? [];
  };
  const problems = [];
  for (const claim of verdicts.claims) {
    const all = [...claim.scenarios, ...claim.controls].map(statuses);
    const passed = all.every((steps) => steps.length > 0 && steps.every((status) => status === "PASSED"));
    const agrees = claim.verdict === "holds" ? passed : all.flat().includes(SHOWN[claim.verdict]);
    if (!agrees) problems.push(`${claim.id} ${claim.verdict}: ${all.flat()}`);
  }
  const success = verdicts.exit === 0 && verdicts.complete;
  if (all("testRunFinished")[0]?.success !== success) problems.push(`the run's success is not ${success}`);
  check("messages.ndjson: the last attempt at each claim shows the claim's verdict", problems);
}

async function render(messages) {
  await pipeline(messages, new CucumberHtmlStream(), createWriteStream(page));
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium" });
  try {
    const tab = await browser.newPage();
    const problems = [];
    tab.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    tab.on("pageerror", (error) => problems.push(String(error)));
    tab.on("dialog", (dialog) => problems.push(`a script ran: ${dialog.message()}`) && dialog.dismiss());
    await tab.goto(pathToFileURL(resolve(page)).href);
    await tab.waitForSelector("#report");
    const shown = await tab.textContent("#report");
    for (const { gherkinDocument } of messages) {
      if (gherkinDocument && !shown.includes(gherkinDocument.uri)) problems.push(`${gherkinDocument.uri} is not shown`);
    }
    check("messages.ndjson: Cucumber's HTML formatter shows every feature, without an error", problems);
  } finally {
    await browser.close();
  }
}

try {
  const messages = await read();
  told(messages);
  await render(messages);
} catch (error) {
  check("messages.ndjson", [String(error)]);
}
