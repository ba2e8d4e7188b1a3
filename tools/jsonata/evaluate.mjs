// Evaluates JSONata with the reference implementation.
//
// Reads a JSON array of {expression, variables} from standard input, and writes one of
// {value} or {error}: what Step Functions makes of each, with $parse, which it adds, and with
// $now and $millis standing still.
import { readFileSync } from "node:fs";
import jsonata from "jsonata";

const NOW = new Date("2026-01-01T00:00:00.000Z");

async function answer({ expression, variables }) {
  try {
    const program = jsonata(expression);
    program.registerFunction("parse", (text) => JSON.parse(text), "<s:x>");
    program.registerFunction("millis", () => NOW.getTime(), "<:n>");
    program.registerFunction("now", () => NOW.toISOString(), "<:s>");
    const value = await program.evaluate(undefined, variables);
    return value === undefined ? { error: "undefined" } : { value };
  } catch (error) {
    return { error: String(error.message ?? error) };
  }
}

const asked = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(await Promise.all(asked.map(answer))));
