/** A provider of language models, as OpenAI's protocol has it. Each question waits until the test answers it. */
import { createServer } from 'node:http';

export class Provider {
  /** Everything that was sent to it, one text for each request. */
  received = [];
  waiting = [];
  wanted = [];

  static async start() {
    const provider = new Provider();
    provider.server = createServer((request, response) => void provider.take(request, response));
    await new Promise((resolve) => provider.server.listen(0, '127.0.0.1', resolve));
    return provider;
  }

  /** How `kip dev` is told of it. */
  options(key = 'a-key') {
    return { args: ['--ai-provider', 'openai', '--ai-url', this.url, '--ai-model', 'test'], env: { KIPPER_AI_KEY: key } };
  }

  get url() {
    return `http://127.0.0.1:${this.server.address().port}/v1`;
  }

  async take(request, response) {
    const parts = [];
    for await (const part of request) parts.push(part);
    const body = Buffer.concat(parts).toString('utf8');
    this.received.push(`${request.url}\n${JSON.stringify(request.headers)}\n${body}`);
    if (request.method === 'GET') {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ data: [{ id: 'test' }, { id: 'another' }] }));
      return;
    }
    const asked = new Asked(JSON.parse(body), response);
    const next = this.wanted.shift();
    if (next) next(asked);
    else this.waiting.push(asked);
  }

  /** The next question, which may have come already. */
  next() {
    const asked = this.waiting.shift();
    return asked ? Promise.resolve(asked) : new Promise((resolve) => this.wanted.push(resolve));
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

class Asked {
  constructor(body, response) {
    this.body = body;
    this.response = response;
    /** Resolved when whoever asked has closed the connection. */
    this.closed = new Promise((resolve) => response.once('close', resolve));
  }

  /** The words of all messages. */
  get text() {
    return this.body.messages.map(({ content }) => content).join('\n');
  }

  begin() {
    if (!this.response.headersSent) this.response.writeHead(200, { 'content-type': 'text/event-stream' });
    return this;
  }

  event(value) {
    this.begin().response.write(`data: ${JSON.stringify(value)}\n\n`);
    return this;
  }

  say(text) {
    return this.event({ choices: [{ index: 0, delta: { content: text }, finish_reason: null }] });
  }

  /** Ends in good order; `reason` is `stop`, `length` or `content_filter`. */
  end(reason = 'stop', usage = { prompt_tokens: 1234, completion_tokens: 56 }) {
    this.event({ choices: [{ index: 0, delta: {}, finish_reason: reason }] });
    this.event({ choices: [], usage });
    this.response.end('data: [DONE]\n\n');
  }

  /** Ends the answer before the model has said that it is complete. */
  cut() {
    this.begin().response.end();
  }

  refuse(status, message, headers = {}) {
    this.response.writeHead(status, { 'content-type': 'application/json', ...headers });
    this.response.end(JSON.stringify({ error: { message, type: 'error', code: null } }));
  }

  /** A whole answer. */
  answer(text) {
    this.say(text).end();
  }
}
