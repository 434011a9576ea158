/* The boundary between mixflow and a sink in a library, version 1.1.
 *
 * The same as `src/raw.rs`, for C and for whatever can speak C. A library has
 * two symbols:
 *
 *     const mixflow_version mixflow_sink_abi_version = MIXFLOW_ABI_VERSION;
 *     const mixflow_table *mixflow_sink_table(void);
 *
 * Rules:
 *
 * - Only these structs, the two of the Arrow C data interface, integers and
 *   UTF-8 cross.
 * - All calls for one sink come from one thread. The functions of the host may
 *   be called from any thread at any time, also after a commit.
 * - A function that fails returns something other than MIXFLOW_OK and fills the
 *   failure that it was given, which is all zeros when it is called.
 * - A `mixflow_str` and a schema that are passed in are borrowed for the call.
 *   A `mixflow_text` that is passed out belongs to the host, which calls its
 *   `release`, if there is one.
 * - Nothing may unwind out of a function.
 * - A library is never unloaded.
 *
 * Documents are JSON. Ignore what you do not know of them:
 *
 * Description {"transactional": true, "replaces_days": false,
 *              "records": "normalized" | "raw", "destination": "out.csv",
 *              "place": "out.csv" | null, "table": "events" | null,
 *              "earlier": "stay" | "go_by_day" | "go" | absent}; the last one is
 *              what becomes of earlier rows at commit
 * Context     {"run_id", "started_at", "data_type": "events" | "profiles",
 *              "project": "12345", "zone": "UTC",
 *              "title", "from_date": "2024-01-31" | null, "to_date",
 *              "filters": {}, "partitions_are_days": true,
 *              "provenance": {"key of `hash`": "5f2c"} | absent}
 * Preview     {"actions": ["creates out.csv"]}
 * Partition   {"id": 0, "label": "2024-01-31", "days": null |
 *              {"first": "2024-01-31", "last", "start_us": 0, "end_us": 0},
 *              "page": 3 | absent}
 * Outcome     {"rows": 12, "missing": [{"partition": Partition, "reason": ""}]}
 * Summary     {"rows": 12, "destination": "out.csv", "warnings": []}
 * Residue     "none" | {"rows": 3} | "unknown"
 */
#ifndef MIXFLOW_SINK_H
#define MIXFLOW_SINK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MIXFLOW_ABI_MAJOR 1
#define MIXFLOW_ABI_MINOR 2
#define MIXFLOW_ABI_VERSION {MIXFLOW_ABI_MAJOR, MIXFLOW_ABI_MINOR}
#define MIXFLOW_MAGIC {'M', 'I', 'X', 'F', 'S', 'I', 'N', 'K'}

#define MIXFLOW_OK 0
#define MIXFLOW_FAILED 1

/* A flag of a failure: the commit may have happened all the same. */
#define MIXFLOW_IN_DOUBT 1

/* The kinds of a failure. The process's exit code follows from it: 2 for
 * config, 4 for auth, 5 for quota, 6 for destination, table_exists, table_not_found
 * and locked, else 1. */
enum mixflow_kind {
    MIXFLOW_OTHER = 0,
    MIXFLOW_CONFIG = 1,
    MIXFLOW_AUTH = 2,
    MIXFLOW_QUOTA = 3,
    MIXFLOW_DESTINATION = 4, /* is missing, is of another shape, cannot be used */
    MIXFLOW_REQUEST = 5,
    MIXFLOW_NETWORK = 6,
    MIXFLOW_INCOMPLETE = 7,
    MIXFLOW_DATA = 8,
    MIXFLOW_IO = 9,
    MIXFLOW_CLOSED = 10, /* the reader went away: the run stops, and is no failure */
    MIXFLOW_INTERRUPTED = 11,
    MIXFLOW_PANIC = 12,
    /* Finer words for a destination or request; a mixflow from before them takes
     * them for `other`. */
    MIXFLOW_TABLE_EXISTS = 13,    /* also a file or folder that is to be made */
    MIXFLOW_TABLE_NOT_FOUND = 14,
    MIXFLOW_LOCKED = 15, /* somebody else has it */
    MIXFLOW_QUERY = 16
};

/* What becomes of what is at the destination already. */
enum mixflow_mode {
    MIXFLOW_CREATE = 0, /* it is an error */
    MIXFLOW_APPEND = 1,
    MIXFLOW_REPLACE = 2,
    MIXFLOW_REPLACE_WINDOW = 3
};

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
struct ArrowSchema {
    const char *format;
    const char *name;
    const char *metadata;
    int64_t flags;
    int64_t n_children;
    struct ArrowSchema **children;
    struct ArrowSchema *dictionary;
    void (*release)(struct ArrowSchema *);
    void *private_data;
};
struct ArrowArray {
    int64_t length;
    int64_t null_count;
    int64_t offset;
    int64_t n_buffers;
    int64_t n_children;
    const void **buffers;
    struct ArrowArray **children;
    struct ArrowArray *dictionary;
    void (*release)(struct ArrowArray *);
    void *private_data;
};
#endif

typedef struct {
    uint32_t major;
    uint32_t minor;
} mixflow_version;

/* UTF-8 that is borrowed for a call; not terminated. */
typedef struct {
    const char *ptr;
    size_t len;
} mixflow_str;

/* UTF-8 that belongs to whoever holds it. */
typedef struct mixflow_text {
    const char *ptr;
    size_t len;
    void *owner;
    void (*release)(struct mixflow_text *); /* NULL for a literal */
} mixflow_text;

typedef struct {
    uint32_t kind;        /* enum mixflow_kind */
    uint32_t flags;       /* MIXFLOW_IN_DOUBT, or 0 */
    mixflow_text message; /* each further line is the cause of the one before */
    mixflow_text hint;    /* what to do about it, or nothing */
    mixflow_text invalid; /* from open: [{"key", "message"}], or nothing */
} mixflow_failure;

/* What the host lends, for the life of the process. */
typedef struct {
    size_t size;
    uint32_t log_level; /* 0 none, 1 error, 2 warn, 3 info, 4 debug, 5 trace */
    /* A target that begins with `mixflow` is shown with -v (info), -vv (debug);
     * error and warn of `mixflow_plugin::NAME` always. */
    void (*log)(uint32_t level, mixflow_str target, mixflow_str text);
} mixflow_host;

/* Tells whether a run is to stop. It belongs to whoever holds it; until it is
 * released it may be asked from any thread. */
typedef struct {
    size_t size;
    const void *token;
    /* Waits so long, or until the run is to stop; 1 if it is. 0 only asks. */
    uint32_t (*wait)(const void *token, uint32_t milliseconds);
    void (*release)(const void *token);
} mixflow_cancel;

typedef void *mixflow_sink;
typedef void *mixflow_txn;

typedef struct {
    char magic[8];
    mixflow_version version;
    size_t size; /* of this struct, as the library knows it */
    mixflow_str name;
    /* Makes a sink of options, a JSON object. Makes no I/O. */
    int32_t (*open)(const mixflow_host *, mixflow_str options, mixflow_sink *, mixflow_failure *);
    /* Ends a sink. Its transactions have ended. */
    void (*close)(mixflow_sink);
    /* Gives a Description. Makes no I/O. */
    int32_t (*describe)(mixflow_sink, mixflow_text *, mixflow_failure *);
    /* Checks that rows of a schema can be written. Makes no I/O. */
    int32_t (*check_schema)(mixflow_sink, const struct ArrowSchema *, mixflow_failure *);
    /* Takes a Context, gives a Preview. Changes nothing. */
    int32_t (*preview)(mixflow_sink, mixflow_str, const struct ArrowSchema *, mixflow_text *,
                       mixflow_failure *);
    /* Takes a Context. Nothing is visible until commit. */
    int32_t (*begin)(mixflow_sink, mixflow_str, const struct ArrowSchema *, mixflow_txn *,
                     mixflow_failure *);
    /* Takes a Partition, before its first batch. */
    int32_t (*partition)(mixflow_txn, mixflow_str, mixflow_failure *);
    /* Takes a struct array of the schema of begin. It is the library's to
     * release, also when this fails. */
    int32_t (*write)(mixflow_txn, uint32_t partition, struct ArrowArray *, mixflow_failure *);
    /* Takes an Outcome, gives a Summary. The transaction has ended, also when
     * this fails; then nothing of it may be visible. */
    int32_t (*commit)(mixflow_txn, mixflow_str, mixflow_text *, mixflow_failure *);
    /* Gives a Residue. The transaction has ended, also when this fails. */
    int32_t (*abort)(mixflow_txn, mixflow_text *, mixflow_failure *);
    /* Gives up a transaction about which nobody asks. */
    void (*discard)(mixflow_txn);
    /* Since 1.1; may be null, and then the sink has no write mode. Chooses what
     * becomes of what is there: a mixflow_mode. Comes before `begin`, makes no
     * I/O, and fails with MIXFLOW_CONFIG if the sink cannot do that. */
    int32_t (*set_mode)(mixflow_sink, uint32_t, mixflow_failure *);
    /* Since 1.2; may be null. Gives [{"name", "value", "about"}]: the options
     * that the sink takes. Makes no I/O. */
    int32_t (*options)(mixflow_text *, mixflow_failure *);
    /* Since 1.2; may be null. Comes before each `begin`: what tells that
     * transaction that the run is to stop. It is the library's to release, also
     * when this fails. */
    int32_t (*set_cancel)(mixflow_sink, mixflow_cancel *, mixflow_failure *);
} mixflow_table;

#ifdef __cplusplus
}
#endif

#endif
