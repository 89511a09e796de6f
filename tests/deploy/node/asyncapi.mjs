// Tells what the parser of AsyncAPI finds wrong with each document of the list on its standard input.
import { Parser } from "@asyncapi/parser";

let text = "";
for await (const chunk of process.stdin) text += chunk;
const parser = new Parser();
const found = [];
for (const document of JSON.parse(text)) found.push((await parser.parse(document)).diagnostics);
console.log(JSON.stringify(found));
