// Checks that features are laid out as Cucumber's own formatter does it, which editors run.
//
// usage: node features.mjs FILE…
import { readFileSync } from "node:fs";

import { AstBuilder, GherkinClassicTokenMatcher, Parser } from "@cucumber/gherkin";
import { pretty } from "@cucumber/gherkin-utils";
import { IdGenerator } from "@cucumber/messages";

const files = process.argv.slice(2);
const problems = [];
for (const file of files) {
  const text = readFileSync(file, "utf8");
  const parser = new Parser(new AstBuilder(IdGenerator.uuid()), new GherkinClassicTokenMatcher());
  const [lines, right] = [text, pretty(parser.parse(text), "gherkin")].map((layout) => layout.split("\n"));
  const wrong = right.findIndex((line, index) => line !== lines[index]);
  if (wrong >= 0) problems.push(`${file}:${wrong + 1}: write ${JSON.stringify(right[wrong])}`);
  else if (right.length !== lines.length) problems.push(`${file}: remove what follows line ${right.length}`);
}
const failed = files.length === 0 || problems.length > 0;
console.log(`${failed ? "FAIL" : "ok  "} ${files.length} features are laid out as Cucumber does it`, problems.join("; "));
process.exitCode = failed ? 1 : 0;
