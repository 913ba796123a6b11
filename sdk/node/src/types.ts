// What the API takes and gives. Times are ISO 8601 in UTC, to the microsecond.

export type SslMode = 'disable' | 'require' | 'verify-ca' | 'verify-full';
export type ConnectionStatus = 'connected' | 'disconnected' | 'pending' | 'error';
export type AuditStatus = 'active' | 'paused' | 'initializing';
export type CheckStatus = 'healthy' | 'warning' | 'critical' | 'unknown';
export type Severity = 'info' | 'warning' | 'critical';

/** What is collected and kept; `engine` holds the options of this engine alone, by their own names. */
export interface AuditOptions {
  readonly captureQueries: boolean;
  readonly captureResults: boolean;
  readonly maskSensitiveData: boolean;
  readonly retentionDays: number;
  /** Whose events are stored: those of this database, or all that the server records. */
  readonly scope: 'database' | 'server';
  readonly engine: Readonly<Record<string, unknown>>;
}

/** What a new database needs. */
export interface DatabaseCreate {
  readonly name: string;
  readonly type: string;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly password: string;
  readonly sslMode?: SslMode;
  readonly sslCa?: string | null;
  readonly sslCert?: string | null;
  readonly sslKey?: string | null;
  readonly tags?: readonly string[];
  readonly auditOptions?: Partial<AuditOptions>;
  readonly auditStatus?: 'active' | 'paused';
  readonly dbConnsAuditing?: boolean;
}

/** What changes of a database; null removes a certificate or key. */
export type DatabaseUpdate = Partial<DatabaseCreate>;

/** One database of a list; what is left out of one that exists stays as it is. */
export interface DatabaseListEntry extends DatabaseUpdate {
  readonly id?: string;
  readonly state?: 'present' | 'absent';
  readonly updatePassword?: 'always' | 'on_create';
}

/** Which databases that the list does not name are removed: those with all of `tags`, at most `limit`. */
export interface Prune {
  readonly tags?: readonly string[];
  readonly limit?: number;
}

/** A monitored database. */
export interface Database {
  readonly id: string;
  readonly name: string;
  readonly type: string;
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly username: string;
  readonly sslMode: SslMode;
  readonly sslCa: string | null;
  readonly sslCert: string | null;
  readonly tags: readonly string[];
  readonly auditOptions: AuditOptions;
  readonly status: ConnectionStatus;
  readonly statusCode: string | null;
  readonly statusReason: string | null;
  readonly auditStatus: AuditStatus;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly lastEventAt: string | null;
  readonly dbConnsAuditing: boolean;
  /** The version of the declaration, for `ifMatch`; not in lists. */
  readonly etag?: string;
}

/** A database with its statistics and health. */
export interface DatabaseDetails extends Database {
  readonly stats: {
    readonly eventsToday: number;
    readonly eventsThisWeek: number;
    readonly alertsPending: number;
    readonly policiesActive: number;
  };
  readonly health: { readonly latencyMs: number | null; readonly lastHeartbeat: string | null };
}

export interface LastError {
  readonly code: string | null;
  readonly message: string;
}

/** How connection and collecting stand. */
export interface DatabaseStatus {
  readonly id: string;
  readonly connectionStatus: ConnectionStatus;
  readonly auditStatus: AuditStatus;
  readonly statusCode: string | null;
  readonly statusReason: string | null;
  readonly collector: {
    readonly version: string | null;
    readonly uptimeSeconds: number;
    readonly eventsPerSecond: number;
    readonly state: string;
    readonly node: string | null;
    readonly lastError: LastError | null;
    readonly gaps: number;
    readonly rejected: number;
    /** Records that make no event, by their class in the word of the source. */
    readonly leftOut: Readonly<Record<string, number>>;
  };
  readonly healthChecks: {
    readonly connectivity: CheckStatus;
    readonly permissions: CheckStatus;
    readonly latency: CheckStatus;
    readonly diskSpace: CheckStatus;
    readonly auditSource: CheckStatus;
  };
  readonly lastEvent: { readonly timestamp: string; readonly type: string; readonly user: string | null } | null;
}

/** One step of a connection test, and the exact remedy. */
export interface Diagnosis {
  readonly code: string;
  readonly status: 'ok' | 'warning' | 'failed' | 'skipped';
  readonly detail: string;
  readonly remedy: string | null;
}

/** What a connection test found. `success`: the server was reached and every right is there. */
export interface TestReport {
  readonly success: boolean;
  readonly latencyMs: number | null;
  readonly version: string | null;
  readonly permissions: Readonly<Record<string, boolean>>;
  readonly warnings: readonly string[];
  readonly diagnoses: readonly Diagnosis[];
  readonly auditSource: string | null;
  readonly errorCode: string | null;
  readonly error: string | null;
}

/** Before and after; a secret is shown as `********`, and its change by a field of its own. */
export interface Difference {
  readonly before: Readonly<Record<string, unknown>>;
  readonly after: Readonly<Record<string, unknown>>;
  readonly passwordChanged?: true;
  readonly sslKeyChanged?: true;
}

/** What would change. */
export interface DryRun {
  readonly changed: boolean;
  readonly diff: Difference;
}

export interface DatabaseResult {
  readonly id: string | null;
  readonly name: string | null;
  readonly action: 'created' | 'updated' | 'removed' | 'unchanged';
  readonly diff?: Difference;
}

/** What became of a list of databases, in its order, and which others were removed. */
export interface DatabaseListResult {
  readonly changed: boolean;
  readonly results: readonly DatabaseResult[];
  readonly pruned: readonly DatabaseResult[];
}

/** One audit event; a field is null if the source does not say it. */
export interface Event {
  readonly id: string;
  readonly type: string;
  readonly timestamp: string;
  readonly databaseId: string;
  readonly databaseName: string;
  readonly severity: Severity;
  readonly outcome: 'success' | 'failure' | null;
  readonly errorCode: string | null;
  readonly user: string | null;
  readonly database: string | null;
  readonly application: string | null;
  readonly sessionId: string | null;
  readonly sourceIp: string | null;
  readonly sourcePort: number | null;
  readonly sourceHost: string | null;
  readonly operation: string | null;
  readonly commandClass: string | null;
  readonly query: string | null;
  readonly queryHash: string | null;
  readonly durationMs: number | null;
  readonly rowsAffected: number | null;
  readonly objects: readonly string[] | null;
  readonly parameters: readonly (string | null)[] | null;
  readonly detail: Readonly<Record<string, unknown>> | null;
}

/** Where connection events are sent; `auditPort` is not there with the protocol `local`. */
export interface DbConnsSettings {
  readonly auditProtocol: 'TCP' | 'local';
  readonly auditAddress: string;
  readonly auditPort?: number;
  /** Seconds. */
  readonly auditReconnectInterval: number;
  /** 0 sets no limit. */
  readonly auditReconnectMaxAttempts: number;
}

/** How the sending for one database stands. */
export interface Delivery {
  readonly databaseId: string;
  readonly databaseName: string;
  readonly node: string | null;
  readonly state: 'waiting' | 'connecting' | 'connected' | 'retrying' | 'given_up' | 'stopped';
  readonly since: string;
  readonly sent: number;
  readonly pending: number;
  readonly reconnects: number;
  readonly expired: number;
  readonly oldestUnsentSeconds: number;
  readonly lastError: LastError | null;
}

/** How the sending of connection events stands: the sums, and each database. */
export interface DbConnsStatus {
  readonly sent: number;
  readonly pending: number;
  readonly reconnects: number;
  readonly expired: number;
  readonly oldestUnsentSeconds: number;
  readonly databases: readonly Delivery[];
}

/** What new databases get where nothing else is said of them. */
export interface ClusterPolicy {
  readonly dbConnsAuditing: boolean;
}

/** One agent; `databases` are the ids of those that it collects at the moment. */
export interface AgentNode {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly alive: boolean;
  readonly capabilities: readonly string[];
  readonly startedAt: string;
  readonly lastHeartbeat: string;
  readonly databases: readonly string[];
}

/** An API key as it is known afterwards: everything but the key itself. */
export interface Key {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly createdAt: string;
  readonly lastUsedAt: string | null;
  readonly revokedAt: string | null;
  readonly expiresAt: string | null;
  readonly networks: readonly string[];
  readonly tags: readonly string[];
}

/** A key that was just made. `key` is the key itself, which nobody can show again; logging or copying leaves it out. */
export interface NewKey extends Key {
  readonly key: string;
}

export interface KeyCreate {
  readonly name: string;
  readonly scopes: readonly string[];
  /** From this time on it is refused; null: it does not expire. */
  readonly expiresAt?: string | null;
  /** From elsewhere it is refused (CIDR). An empty list: it may be used everywhere. */
  readonly networks?: readonly string[];
  /** It reaches only databases that have all of these. An empty list: all databases. */
  readonly tags?: readonly string[];
}

export interface Readiness {
  readonly status: 'ready' | 'not_ready';
  /** Each `ok`, or the reason why not. */
  readonly checks: { readonly state: string; readonly agent: string };
}
