// Publishes one event with the JavaScript SDK: node publish.cjs URL binary|structured ID, with NODE_PATH set.
// Prints what went over the wire and what came back, as one line of JSON.
const http = require("node:http");
const { CloudEvent, HTTP } = require("cloudevents");

const [url, mode, id] = process.argv.slice(2);
const event = new CloudEvent({
  id,
  source: "/javascript",
  type: "com.example.javascript",
  subject: "100 % plain",
  time: "2026-02-03T04:05:06.789Z",
  datacontenttype: "application/json",
  dataschema: "https://example.com/schema",
  partitionkey: "k1",
  data: { text: "Größe €", number: 0.1, list: [1.5, null, true] },
});
const message = HTTP[mode](event);
const body = Buffer.from(message.body);
const request = http.request(url, { method: "POST", headers: message.headers }, (answer) => {
  answer.resume();
  answer.on("end", () => {
    console.log(JSON.stringify({ status: answer.statusCode, headers: message.headers, body: body.toString("base64") }));
  });
});
request.end(body);
