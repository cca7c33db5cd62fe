// The world outside Bouncer, as small as a test needs it: a receiver of webhooks, and a WAHA server.
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";

async function listen(handle: (request: IncomingMessage, body: string) => { status: number; body?: unknown; headers?: Record<string, string> }): Promise<{ server: Server; url: string }> {
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (part: string) => (body += part));
    request.on("end", () => {
      const answer = handle(request, body);
      response.writeHead(answer.status, { "content-type": "application/json", ...answer.headers });
      response.end(answer.body === undefined ? "" : JSON.stringify(answer.body));
    });
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  await new Promise((closed) => server.close(closed));
}

export interface Received {
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
  event: { type: string; timestamp: string; data: Record<string, unknown> };
}

/** A customer's program that hears of events. */
export class Receiver {
  readonly received: Received[] = [];
  /** What it answers with. */
  status = 200;

  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  static async start(): Promise<Receiver> {
    let self: Receiver | undefined = undefined;
    const { server, url } = await listen((request, body) => {
      const receiver = self!;
      receiver.received.push({ path: request.url ?? "", headers: request.headers, body, event: JSON.parse(body) as Received["event"] });
      return { status: receiver.status, body: { heard: receiver.received.length } };
    });
    self = new Receiver(server, `${url}/hooks/bouncer`);
    return self;
  }

  of(type: string): Received[] {
    return this.received.filter(({ event }) => event.type === type);
  }

  stop(): Promise<void> {
    return close(this.server);
  }
}

/** Whether a request was signed with a secret, as a customer would find out; and with how many signatures. */
export function verify(secret: string, { headers, body }: Received): { fits: boolean; signatures: number } {
  const text = (name: string) => String(headers[name] ?? "");
  const signed = { "webhook-id": text("webhook-id"), "webhook-timestamp": text("webhook-timestamp"), "webhook-signature": text("webhook-signature") };
  let fits = true;
  try {
    new Webhook(secret).verify(body, signed);
  } catch {
    fits = false;
  }
  return { fits, signatures: signed["webhook-signature"].split(" ").length };
}

type Status = "STOPPED" | "STARTING" | "SCAN_QR_CODE" | "WORKING" | "FAILED";

/** A WAHA server with one session, as far as connecting and sending text go. */
export class Waha {
  readonly sent: { chatId: string; text: string }[] = [];
  /** How often the QR code was asked for; it changes each time. */
  asked = 0;
  config: unknown = undefined;
  private status: Status | undefined = undefined;

  private constructor(
    private readonly server: Server,
    readonly url: string,
    readonly key: string,
  ) {}

  static async start(key: string): Promise<Waha> {
    let self: Waha | undefined = undefined;
    const { server, url } = await listen((request, body) => self!.answer(request, body));
    self = new Waha(server, url, key);
    return self;
  }

  /** Somebody scans the code with their phone. */
  scan(): void {
    this.status = "WORKING";
  }

  stop(): Promise<void> {
    return close(this.server);
  }

  private session() {
    return { name: "default", status: this.status, config: this.config, me: this.status === "WORKING" ? { id: "436601234567@c.us", pushName: "Kaffeehaus" } : null };
  }

  private answer(request: IncomingMessage, body: string): { status: number; body?: unknown } {
    if (request.headers["x-api-key"] !== this.key) return { status: 401, body: { message: "Unauthorized", statusCode: 401 } };
    const at = `${request.method} ${(request.url ?? "").split("?")[0]}`;
    const json = body ? (JSON.parse(body) as Record<string, unknown>) : {};
    switch (at) {
      case "GET /api/sessions/default":
        return this.status === undefined ? { status: 404, body: { message: "Session not found", statusCode: 404 } } : { status: 200, body: this.session() };
      case "POST /api/sessions":
        this.config = json.config;
        this.status = "SCAN_QR_CODE";
        return { status: 201, body: this.session() };
      case "PUT /api/sessions/default":
        this.config = json.config;
        return { status: 200, body: this.session() };
      case "POST /api/sessions/default/start":
      case "POST /api/sessions/default/restart":
        this.status = "SCAN_QR_CODE";
        return { status: 201, body: this.session() };
      case "POST /api/sessions/default/stop":
      case "POST /api/sessions/default/logout":
        this.status = "STOPPED";
        return { status: 201, body: this.session() };
      case "GET /api/default/auth/qr":
        this.asked += 1;
        return { status: 200, body: { value: `2@end2end-${this.asked},aGVsbG8,d29ybGQ=` } };
      case "POST /api/sendText":
        this.sent.push({ chatId: String(json.chatId), text: String(json.text) });
        return { status: 201, body: { id: `true_${json.chatId}_${json.id ?? this.sent.length}` } };
      default:
        return { status: 404, body: { message: `Cannot ${at}`, statusCode: 404 } };
    }
  }
}
