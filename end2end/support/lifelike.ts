// An organization as it looks after some months: for the pictures, and for whatever should be seen with data in it.
import type { APIRequestContext } from "@playwright/test";
import { changeKeys, join, makeEndpoint, makeInstance, makeKey, newOrganization, newPerson, type Person, type Revealed, send, signedIn, stranger } from "./console";
import { sql } from "./server";
import * as where from "./where";

export interface Lifelike {
  owner: Person;
  /** Signed in as the owner. */
  by: APIRequestContext;
  keys: Map<string, Revealed>;
  /** Ids by name, and by URL. */
  instances: Map<string, string>;
  endpoints: Map<string, string>;
}

interface Sketch {
  name: string;
  description?: string;
  form?: Record<string, string>;
  scopes?: string[];
  /** Calls an hour at noon; nothing for a key that is not used. */
  busy?: number;
  /** A share of them that is refused, and why. */
  denied?: [share: number, outcome: string, status: number];
  endpoint?: string;
  agent?: string;
  ip?: string;
  createdDaysAgo: number;
  usedMinutesAgo?: number;
}

const sketches: Sketch[] = [
  { name: "QA playground", description: "Runs every night", form: { environment: "test", scope_group: "full_access" }, createdDaysAgo: 2 },
  { name: "Chatbot handover", form: { scope_group: "webhook_automation", allowed_ips: "198.51.100.0/24" }, busy: 40, denied: [0.35, "ip_not_allowed", 403], endpoint: "/api/v1/me", agent: "python-requests/2.32.5", ip: "203.0.113.77", createdDaysAgo: 9, usedMinutesAgo: 3 },
  { name: "Newsletter sender", description: "Spring campaign, opt-in list", form: { scope_group: "broadcast_manager", throttle_mode: "random", rate_limit: "5000" }, busy: 260, agent: "newsletter/4.1 (node 24)", ip: "198.51.100.20", createdDaysAgo: 21, usedMinutesAgo: 1 },
  { name: "WooCommerce Graz", description: "Order confirmations and parcel tracking", form: { throttle_mode: "smart", max_queue: "200" }, busy: 480, denied: [0.004, "rate_limited", 429], agent: "WooCommerce/10.3 (WordPress 6.9)", ip: "203.0.113.9", createdDaysAgo: 64, usedMinutesAgo: 0 },
  { name: "n8n order workflow", form: { throttle_mode: "fixed", delay: "4" }, scopes: ["message:send", "instance:read", "conversation:manage", "webhooks:manage", "order:read"], busy: 90, agent: "n8n/1.121.0", ip: "203.0.113.14", createdDaysAgo: 70, usedMinutesAgo: 12 },
  { name: "Zapier leads", form: { scope_group: "lead_manager" }, busy: 24, agent: "Zapier", ip: "192.0.2.61", createdDaysAgo: 88, usedMinutesAgo: 46 },
  { name: "Warehouse scanner", description: "Hall 2, both gates", form: { allowed_ips: "203.0.113.0/26\n203.0.113.128/26\n2001:db8:40::/48", rate_limit: "10000" }, busy: 610, agent: "scanner-firmware/7.2", ip: "203.0.113.32", createdDaysAgo: 130, usedMinutesAgo: 2 },
  { name: "Reporting dashboard", form: { scope_group: "read_only", expires: "7" }, busy: 12, agent: "Metabase/58", ip: "203.0.113.40", createdDaysAgo: 140, usedMinutesAgo: 55 },
  { name: "Contractor access", description: "For the relaunch", form: { scope_group: "message_sender" }, createdDaysAgo: 160, usedMinutesAgo: 60 * 24 * 47 },
  { name: "Mobile app staging", form: { environment: "test" }, busy: 6, agent: "okhttp/5.2.1", ip: "192.0.2.8", createdDaysAgo: 171, usedMinutesAgo: 190 },
  { name: "Old CRM bridge", description: "Replaced by Zapier leads", form: { scope_group: "contact_manager" }, createdDaysAgo: 300, usedMinutesAgo: 60 * 24 * 90 },
  { name: "Christmas campaign", form: { scope_group: "message_sender", expires: "30" }, createdDaysAgo: 330, usedMinutesAgo: 60 * 24 * 300 },
  { name: "Legacy plugin", createdDaysAgo: 400, usedMinutesAgo: 60 * 24 * 200 },
];

/** Makes it all through the server's own functions; only the past, which nobody can make, is written by hand. */
export async function lifelike(name: string): Promise<Lifelike> {
  const owner = await newOrganization(name, { ...newPerson("Mara Winkler"), name: "Mara Winkler" });
  const by = await signedIn(owner);
  for (const [who, role] of [["Jonas Reiter", "admin"], ["Aylin Demir", "developer"], ["Tomás Vega", "viewer"]] as const) {
    (await join(by, { ...newPerson(who), name: who }, role)).dispose();
  }
  await send(by, "members/invite", { email: `lena.${Math.random().toString(36).slice(2, 6)}@acme.example`, role: "developer" });

  const keys = new Map<string, Revealed>();
  for (const { name, form, scopes, description } of [...sketches].reverse()) {
    keys.set(name, await makeKey(by, name, { ...form, description: description ?? "" }, scopes));
  }
  const id = (name: string) => keys.get(name)!.id;
  await changeKeys(by, "disable", id("Old CRM bridge"));
  await changeKeys(by, "revoke", id("Legacy plugin"));
  const program = await stranger();
  const call = (name: string, agent: string) => program.get(`${where.url}/api/v1/me`, { headers: { authorization: `Bearer ${keys.get(name)!.key}`, "user-agent": agent } });
  const rotated = await send(by, "api_keys/regenerate", { id: id("Newsletter sender"), version: "1", overlap: "24h" });
  if (rotated.status() !== 200) throw new Error(await rotated.text());
  for (let i = 0; i < 4; i++) await call("Newsletter sender", "newsletter/4.0 (node 22)");
  for (let i = 0; i < 3; i++) await call("Chatbot handover", "python-requests/2.32.5");
  await call("WooCommerce Graz", "WooCommerce/10.3 (WordPress 6.9)");
  await program.dispose();
  const { instances, endpoints } = await integrations(by, keys);
  if (!where.external) {
    await past(owner.email);
    await pastOfIntegrations(instances, endpoints);
  }
  return { owner, by, keys, instances, endpoints };
}

/** Three numbers and three receivers, with a queue that somebody has paused. */
async function integrations(by: APIRequestContext, keys: Map<string, Revealed>) {
  const instances = new Map<string, string>();
  const endpoints = new Map<string, string>();
  const add = async (name: string, over: Record<string, string> = {}) => instances.set(name, (await makeInstance(by, name, over)).id);
  await add("Rehearsal");
  await add("Newsletter", { provider: "cloud_api", phone_number_id: "106540352242922", business_account_id: "102290129340398", access_token: "EAAG-lifelike", app_secret: "lifelike-secret", verify_token: "lifelike-token" });
  await add("Support Graz", { provider: "waha", waha_url: "https://waha.acme.example", session: "default", api_key: "lifelike" });
  const paused = instances.get("Rehearsal")!;
  await send(by, "instances/change", { id: paused, what: "pause" });
  const program = await stranger();
  for (const [i, last] of ["01", "77", "13", "42", "02", "58"].entries()) {
    const answer = await program.post(`${where.url}/api/v1/messages/send`, {
      data: { instanceId: paused, to: `+43660123${4500 + i * 37}${last}`.slice(0, 14), message: `Your order 20${i}4 is on its way.` },
      headers: { authorization: `Bearer ${keys.get("n8n order workflow")!.key}` },
    });
    if (answer.status() !== 202) throw new Error(await answer.text());
  }
  await program.dispose();
  // Last, so that nothing of this is sent to addresses that do not exist.
  for (const [url, description, events] of [
    ["https://crm.acme.example/hooks/whatsapp", "Replies into the CRM", ["message.received", "instance.status", "template.category_changed"]],
    ["https://n8n.acme.example/webhook/7c1f0a52-order-tracking", "Order tracking", ["message.*"]],
    ["https://shop.acme.example/wp-json/bouncer/v1/events", "", ["*"]],
  ] as const) {
    endpoints.set(url, (await makeEndpoint(by, url, { description }, events)).id);
  }
  return { instances, endpoints };
}

/** What providers and receivers would have said, had there been any. */
async function pastOfIntegrations(instances: Map<string, string>, endpoints: Map<string, string>): Promise<void> {
  const uuid = (id: string) => `(${text(uuidOf(id))})::uuid`;
  const [support, newsletter] = [instances.get("Support Graz")!, instances.get("Newsletter")!];
  const [crm, n8n, shop] = [...endpoints.values()] as [string, string, string];
  const hours = (endpoint: string, succeeded: number, failed: number) =>
    [[true, succeeded] as const, [false, failed] as const]
      .filter(([, count]) => count > 0)
      .map(
        ([good, count]) => `insert into webhook_hours (endpoint_id, organization_id, hour, succeeded, bucket, count)
          select w.id, w.organization_id, at, ${good}, 19 + (extract(hour from at)::int % 4), ${count}
          from webhook_endpoints w, generate_series(date_trunc('hour', now()) - interval '22 hours', date_trunc('hour', now()), interval '1 hour') as at
          where w.id = ${uuid(endpoint)} on conflict do nothing`,
      );
  const statements = [
    `update instances set status = 'connected', status_detail = 'WORKING', phone = '436601234567', status_at = now() - interval '9 days' where id = ${uuid(support)}`,
    `update instances set status = 'failed', status_detail = 'OAuthException 190: Error validating access token: Session has expired.', phone = '43316123456', status_at = now() - interval '3 hours' where id = ${uuid(newsletter)}`,
    `update queues set paused_at = null, paused_by = null, paused_reason = '' where instance_id = ${uuid(support)}`,
    `update webhook_endpoints set last_success_at = now() - interval '2 minutes', last_attempt_at = now() - interval '2 minutes' where id = ${uuid(shop)}`,
    `update webhook_endpoints set last_success_at = now() - interval '26 hours', last_attempt_at = now() - interval '14 minutes', failing_since = now() - interval '25 hours', last_error = 'n8n.acme.example answered 502.' where id = ${uuid(n8n)}`,
    `update webhook_endpoints set last_success_at = now() - interval '12 days', last_attempt_at = now() - interval '7 days', disabled_at = now() - interval '7 days', disabled_by = 'failures' where id = ${uuid(crm)}`,
    ...hours(shop, 212, 0),
    ...hours(n8n, 0, 2),
  ];
  await sql(where.dataDir, `begin;\n${statements.join(";\n")};\ncommit;`);
}

/** The UUID in an id: its 26 characters are 128 bits in Crockford's base 32. */
function uuidOf(id: string): string {
  const digits = "0123456789abcdefghjkmnpqrstvwxyz";
  const bits = [...id.split("_")[1]!].reduce((sum, c) => (sum << 5n) | BigInt(digits.indexOf(c)), 0n);
  return bits.toString(16).padStart(32, "0");
}

const text = (value: string) => `'${value.replaceAll("'", "''")}'`;

/** A day and a month of traffic, and ages. Written as the recorder and the housekeeping would have left it. */
async function past(email: string): Promise<void> {
  const org = `(select organization_id from memberships m join people p on p.id = m.person_id where p.email = ${text(email)})`;
  const statements = sketches.flatMap(({ name, busy, denied, endpoint = "/api/v1/keys/verify", agent = "curl/8.14.1", ip = "203.0.113.5", createdDaysAgo, usedMinutesAgo }) => {
    const key = `organization_id = ${org} and name = ${text(name)}`;
    const out = [`update api_keys set created_at = now() - interval '${createdDaysAgo} days' where ${key}`];
    if (usedMinutesAgo !== undefined) {
      out.push(`update api_keys set first_used_at = created_at, last_used_at = now() - interval '${usedMinutesAgo} minutes', last_used_ip = '${ip}', last_used_user_agent = ${text(agent)} where ${key}`);
    }
    if (busy) {
      // A working day: quiet nights, two humps, and a little noise that is the same in every run.
      const shape = (hour: string) => `greatest(0, ${busy} * (0.12 + 0.88 * exp(-power(extract(hour from ${hour}) - 11, 2) / 14.0) + 0.6 * exp(-power(extract(hour from ${hour}) - 17, 2) / 6.0)) * (0.8 + 0.4 * abs(sin(extract(epoch from ${hour}) / 3600 * 12.9898 + ${busy}))))`;
      const [share, outcome, status] = denied ?? [0, "", 0];
      const series = (grain: string, span: string) => `generate_series(date_trunc('${grain}', now()) - interval '${span}', date_trunc('${grain}', now()) - interval '1 ${grain}', interval '1 ${grain}') as at`;
      const rows = (grain: string, span: string, calls: string, kind: string, code: number) =>
        `insert into usage_rollups (organization_id, grain, bucket, key_id, endpoint, outcome, status, calls, latency_us)
         select k.organization_id, '${grain}', at, k.id, '${endpoint}', '${kind}', ${code}, (${calls})::bigint, (${calls})::bigint * 1900
         from api_keys k, ${series(grain, span)} where k.${key.replace(" and name", " and k.name")} and (${calls})::bigint > 0
         on conflict do nothing`;
      out.push(rows("hour", "24 hours", `${shape("at")} * ${1 - share}`, "allowed", 200));
      out.push(rows("day", "29 days", `${busy * 9} * (1 - ${share}) * (0.7 + 0.3 * abs(sin(extract(day from at))))`, "allowed", 200));
      if (share) {
        out.push(rows("hour", "24 hours", `${shape("at")} * ${share}`, outcome, status));
        out.push(rows("day", "29 days", `${busy * 9 * share}`, outcome, status));
      }
    }
    return out;
  });
  statements.push(`update api_keys set expires_at = now() - interval '300 days' where organization_id = ${org} and name = 'Christmas campaign'`);
  await sql(where.dataDir, `begin;\n${statements.join(";\n")};\ncommit;`);
}
