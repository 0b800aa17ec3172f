// OpenAI's own client for Node: chats, streams and calls a tool; prints what it got as JSON.
import OpenAI from "openai";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none" });
const messages = [{ role: "user", content: "What is the weather in Seoul?" }];
const weather = {
  type: "function",
  function: {
    name: "weather",
    description: "Tell the weather of a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

const plain = await client.chat.completions.create({ model, messages, max_tokens: 16 });

let streamed = "";
const stream = await client.chat.completions.create({ model, messages, max_tokens: 16, stream: true });
for await (const chunk of stream) streamed += chunk.choices[0]?.delta?.content ?? "";

const called = await client.chat.completions.create({
  model, messages, tools: [weather], tool_choice: "required", max_tokens: 64,
});

let refusal = null;
try {
  await client.chat.completions.create({ model: "nonesuch", messages });
} catch (error) {
  refusal = { status: error.status, code: error.code };
}

console.log(JSON.stringify({
  chat: plain.choices[0].message.content,
  stream: streamed,
  tool: called.choices[0].message.tool_calls[0].function,
  refusal,
}));
