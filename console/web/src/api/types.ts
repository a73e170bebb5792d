// The shapes of docs/api.md, one to one. `Spec` and `Status` are those of the Function resource.

export type Runtime = 'node' | 'python';
export type TriggerKind = 'http' | 'cron' | 'postgres' | 'mysql' | 'redis' | 'minio';
export type ServiceKind = 'postgres' | 'mysql' | 'mongodb' | 'redis' | 'minio' | (string & {});
export type Phase = 'Idle' | 'Scaling' | 'Running' | 'Failed';

export interface Source {
  code?: string;
  files?: Record<string, string>;
  handler?: string;
  dependencies?: Record<string, string>;
  npmrc?: string;
}

export interface Resources {
  cpuRequest?: string;
  cpuLimit?: string;
  memoryRequest?: string;
  memoryLimit?: string;
  tmpLimit?: string;
}

export interface ServiceBinding {
  name: string;
  prefix?: string;
  database?: string;
  createDatabase?: boolean;
  deletionPolicy?: 'Retain' | 'Delete';
}

export interface VolumeMount {
  name: string;
  mountPath: string;
}

export interface Trigger {
  type: TriggerKind;
  schedule?: string;
  timeZone?: string;
  suspend?: boolean;
  deadlineSeconds?: number;
  config?: Record<string, string>;
}

export interface Scaling {
  minReplicas?: number;
  maxReplicas?: number;
  targetRequestRate?: number;
  concurrency?: number;
  burst?: boolean;
}

export interface Timeouts {
  coldStartSeconds?: number;
  responseHeaderSeconds?: number;
  requestSeconds?: number;
}

export interface Spec {
  image?: string;
  port?: number;
  runtime?: string;
  source?: Source;
  env?: Record<string, string>;
  resources?: Resources;
  serviceBindings?: ServiceBinding[];
  volumes?: VolumeMount[];
  noTmp?: boolean;
  triggers?: Trigger[];
  noSecurityHeaders?: boolean;
  logRequests?: boolean;
  cspAllowlist?: string[];
  idleTimeoutSeconds?: number;
  scaling?: Scaling;
  timeouts?: Timeouts;
  readinessPath?: string;
  protocol?: 'auto' | 'http1' | 'h2c';
  imagePullSecrets?: { name: string }[];
}

export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  reason: string;
  message: string;
  lastTransitionTime?: string;
}

export interface RunStatus {
  job: string;
  startTime?: string;
  completionTime?: string;
  result?: 'Succeeded' | 'Failed';
  reason?: string;
  message?: string;
}

export interface Status {
  phase?: Phase;
  replicas?: number;
  endpoint?: string;
  observedGeneration?: number;
  conditions?: Condition[];
  failingSince?: string;
  lastExit?: { time: string; reason: string; exitCode: number; restarts: number };
  schedule?: { lastScheduleTime?: string; activeRun?: RunStatus; lastRun?: RunStatus };
}

/** What one logs in with: a token of the cluster, or the URL that was printed. */
export type Login = 'token' | 'url';

/** The identity provider, and why the last login there failed. */
export interface Provider {
  name: string;
  failure: string | null;
}

export type Capability =
  | 'namespaces'
  | 'images'
  | 'bindings'
  | 'volumes'
  | 'services'
  | 'secrets'
  | 'revisions'
  | 'delete'
  | 'testRun'
  | 'events';

export interface TriggerSetting {
  name: string;
  title: string;
  help: string;
  kind: 'text' | 'sql' | 'number' | 'duration' | 'choice';
  choices?: string[];
  required: boolean;
  default: string | null;
}

export interface TriggerMeta {
  kind: TriggerKind;
  title: string;
  help: string;
  settings: TriggerSetting[];
}

export interface Defaults {
  port: number;
  idleTimeoutSeconds: number;
  coldStartSeconds: number;
  responseHeaderSeconds: number;
  requestSeconds: number;
  cronDeadlineSeconds: number;
  minReplicas: number;
  maxReplicas: number;
  targetRequestRate: number;
  concurrency: number;
  cpuRequest: string;
  memoryRequest: string;
  memoryLimit: string;
  tmpLimit: string;
}

export interface Meta {
  version: string;
  login: Login;
  /** The name of the identity provider. */
  provider: string | null;
  backend: 'dev' | 'cluster';
  user: string;
  namespace: string;
  /** `https://fn-{name}-shop.example`; null where URLs are not known. */
  urlPattern: string | null;
  can: Record<Capability, boolean>;
  why: Partial<Record<Capability, string>>;
  runtimes: { name: Runtime; title: string }[];
  cronPresets: { title: string; schedule: string }[];
  triggers: TriggerMeta[];
  defaults: Defaults;
  prefixes: Record<string, string>;
  limits: { codeBytes: number; files: number; env: number; secretBytes: number; nameLength: number; variableLength: number };
}

export interface Summary {
  name: string;
  namespace: string;
  phase: Phase | null;
  ready: { status: string; reason: string; message: string } | null;
  triggers: TriggerKind[];
  schedule: string | null;
  replicas: number;
  url: string | null;
  runtime: Runtime | 'image';
  lastRun: RunStatus | null;
  created: string | null;
}

export interface FirstList {
  namespace: string;
  items: Summary[];
}

export interface SecretInfo {
  name: string;
  hasPrevious: boolean;
  rotatedAt: string | null;
}

export interface Detail {
  name: string;
  namespace: string;
  generation: number;
  spec: Spec;
  status: Status | null;
  url: string | null;
  secrets: SecretInfo[];
  origin: string | null;
  readOnly: string | null;
  notices: string[];
}

export interface Problem {
  path: string;
  message: string;
}

export interface Conflict {
  path: string;
  base: unknown;
  yours: unknown;
  theirs: unknown;
}

export interface SecretChanges {
  set: Record<string, string>;
  delete: string[];
}

export interface Base {
  generation: number;
  spec: Spec;
}

export interface Saved {
  function: Detail;
  outcome: 'created' | 'changed' | 'unchanged';
  merged: string[];
  written: string[];
  failed: { step: string; error: string } | null;
}

export interface Checked {
  problems: Problem[];
  warnings: string[];
}

export interface CronAnswer {
  description: string;
  next: { time: string; local: string }[];
}

export interface ServiceInfo {
  name: string;
  kind: ServiceKind;
  problem: string | null;
}

export interface VolumeInfo {
  name: string;
  size: string | null;
  mountedBy: string[];
}

export interface Line {
  time: string;
  pod: string;
  container: string;
  text: string;
}

export interface LogsAnswer {
  lines: Line[];
  notices: string[];
  source: 'pods' | 'loki' | 'process';
}

export interface KubeEvent {
  time: string | null;
  type: string;
  reason: string;
  message: string;
  count: number;
}

export interface Revision {
  number: number;
  created: string | null;
  cause: string | null;
  isCurrent: boolean;
  spec: Spec;
}

export interface InvokeRequest {
  method: string;
  path: string;
  headers: [string, string][];
  body: string;
}

export interface Invoked {
  status: number;
  headers: [string, string][];
  body: string;
  isText: boolean;
  truncated: boolean;
  milliseconds: number;
  phases: { name: string; milliseconds: number }[];
}

/** Who says how busy a function is, and thereby over how long it is a mean. */
export type RateSource = 'counter' | 'autoscaler';

export type StreamEvent =
  | { type: 'functions'; items: Summary[] }
  | { type: 'function'; function: Detail }
  | { type: 'gone' }
  | { type: 'line'; line: Line }
  | { type: 'rate'; time: string; perSecond: number; replicas: number; source: RateSource }
  | { type: 'error'; error: string; reason: string };

export type Protocol = 'openai' | 'anthropic' | 'ollama';

export interface AiSettings {
  provider: Protocol | null;
  url: string | null;
  model: string | null;
  keySet: boolean;
  changed: string | null;
  canChange: boolean;
  /** Why it cannot be changed. */
  why: string | null;
}

/** `key`: null keeps the one that is stored, which belongs to its URL; an empty one removes it. */
export interface AiChange {
  provider: Protocol;
  url: string;
  model: string;
  key: string | null;
}

export interface AiTried {
  models: string[];
  reply: string | null;
  error: { code: string; message: string; retryable: boolean } | null;
}

/** What the assistant is told of a function. It has no field for a value. */
export interface AssistantDraft {
  runtime: Runtime;
  code: Record<string, string>;
  bindings: { service: string; kind: ServiceKind; env: string[] }[];
  envNames: string[];
  secretNames: string[];
  dependencies: Record<string, string>;
}

export interface Ask {
  messages: { role: 'user' | 'assistant'; text: string }[];
  draft: AssistantDraft;
  attachments: { name: string; text: string }[];
}

/** What the model is told beside the code, as it is told. */
export interface Knows {
  runtime: string;
  /** `eventdb (postgres) → DB_HOST DB_PORT`. */
  bindings: string[];
  env: string[];
  secrets: string[];
  /** `pg@8.11.5`. */
  dependencies: string[];
  files: string[];
}

export interface Usage {
  input: number | null;
  output: number | null;
}

export type AssistantEvent =
  | { type: 'knows'; knows: Knows; tokens: number }
  | { type: 'delta'; text: string }
  | { type: 'done'; stop: 'end' | 'length' | 'refused'; usage: Usage }
  | { type: 'error'; code: string; message: string; retryable: boolean };
