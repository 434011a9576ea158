/* A sink in C: writes how many rows there were.
 *
 *     cc -shared -fPIC -Isinks/abi/include -o libcount.so sinks/abi/c/count.c
 *
 *     [sink]
 *     type = "plugin"
 *     library = "libcount.so"
 *     options = { path = "count.txt" }
 *
 * To keep it short, it takes the path from the options without a parser of
 * JSON, so it takes no path with a quote or a backslash in it.
 */
#include "mixflow_sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char path[4096];
    char staged[4104];
    char answer[8300];
    int64_t rows;
} count;

static void fail(mixflow_failure *failure, uint32_t kind, const char *message) {
    failure->kind = kind;
    failure->message.ptr = message;
    failure->message.len = strlen(message);
}

static void give(mixflow_text *text, const char *json) {
    text->ptr = json;
    text->len = strlen(json);
}

static int32_t open_(const mixflow_host *host, mixflow_str options, mixflow_sink *sink,
                     mixflow_failure *failure) {
    static const char before[] = "{\"path\":\"", after[] = "\"}";
    const size_t around = strlen(before) + strlen(after);
    if (options.len <= around || strncmp(options.ptr, before, strlen(before)) != 0 ||
        memchr(options.ptr, '\\', options.len) != NULL ||
        options.len - around >= sizeof(((count *)0)->path)) {
        fail(failure, MIXFLOW_CONFIG, "this takes one option, `path`");
        return MIXFLOW_FAILED;
    }
    count *made = calloc(1, sizeof *made);
    if (made == NULL) {
        fail(failure, MIXFLOW_OTHER, "out of memory");
        return MIXFLOW_FAILED;
    }
    memcpy(made->path, options.ptr + strlen(before), options.len - around);
    snprintf(made->staged, sizeof made->staged, "%s.part", made->path);
    if (host->log != NULL) {
        static const char line[] = "ready to count";
        mixflow_str target = {"mixflow_plugin::count", 21}, text = {line, strlen(line)};
        host->log(4, target, text);
    }
    *sink = made;
    return MIXFLOW_OK;
}

static void close_(mixflow_sink sink) { free(sink); }

static int32_t describe(mixflow_sink sink, mixflow_text *text, mixflow_failure *failure) {
    count *self = sink;
    (void)failure;
    snprintf(self->answer, sizeof self->answer,
             "{\"transactional\":true,\"destination\":\"%s\",\"place\":\"%s\"}", self->path,
             self->path);
    give(text, self->answer);
    return MIXFLOW_OK;
}

static int32_t check_schema(mixflow_sink sink, const struct ArrowSchema *schema,
                            mixflow_failure *failure) {
    (void)sink, (void)schema, (void)failure;
    return MIXFLOW_OK;
}

static int exists(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file != NULL) fclose(file);
    return file != NULL;
}

static int32_t preview(mixflow_sink sink, mixflow_str context, const struct ArrowSchema *schema,
                       mixflow_text *text, mixflow_failure *failure) {
    (void)context, (void)schema;
    if (exists(((count *)sink)->path)) {
        fail(failure, MIXFLOW_DESTINATION, "the file is there already");
        give(&failure->hint, "remove it, or choose another path");
        return MIXFLOW_FAILED;
    }
    give(text, "{\"actions\":[\"counts rows\"]}");
    return MIXFLOW_OK;
}

static int32_t begin(mixflow_sink sink, mixflow_str context, const struct ArrowSchema *schema,
                     mixflow_txn *txn, mixflow_failure *failure) {
    mixflow_text text = {0};
    if (preview(sink, context, schema, &text, failure) != MIXFLOW_OK) return MIXFLOW_FAILED;
    ((count *)sink)->rows = 0;
    *txn = sink; /* One transaction at a time, so the sink can be it. */
    return MIXFLOW_OK;
}

static int32_t partition(mixflow_txn txn, mixflow_str info, mixflow_failure *failure) {
    (void)txn, (void)info, (void)failure;
    return MIXFLOW_OK;
}

static int32_t write_(mixflow_txn txn, uint32_t partition, struct ArrowArray *rows,
                      mixflow_failure *failure) {
    (void)partition, (void)failure;
    ((count *)txn)->rows += rows->length;
    rows->release(rows);
    return MIXFLOW_OK;
}

static int32_t commit(mixflow_txn txn, mixflow_str outcome, mixflow_text *text,
                      mixflow_failure *failure) {
    count *self = txn;
    (void)outcome;
    FILE *file = fopen(self->staged, "wb");
    int written = file != NULL && fprintf(file, "%lld\n", (long long)self->rows) > 0;
    if (file != NULL) written = fclose(file) == 0 && written;
    if (!written || rename(self->staged, self->path) != 0) {
        remove(self->staged);
        fail(failure, MIXFLOW_IO, "cannot write the file");
        return MIXFLOW_FAILED;
    }
    snprintf(self->answer, sizeof self->answer, "{\"rows\":%lld,\"destination\":\"%s\"}",
             (long long)self->rows, self->path);
    give(text, self->answer);
    return MIXFLOW_OK;
}

static int32_t abort_(mixflow_txn txn, mixflow_text *text, mixflow_failure *failure) {
    (void)txn, (void)failure;
    give(text, "\"none\"");
    return MIXFLOW_OK;
}

static void discard(mixflow_txn txn) { (void)txn; }

const mixflow_version mixflow_sink_abi_version = MIXFLOW_ABI_VERSION;

static const mixflow_table table = {
    .magic = MIXFLOW_MAGIC,
    .version = MIXFLOW_ABI_VERSION,
    .size = sizeof(mixflow_table),
    .name = {"count", 5},
    .open = open_,
    .close = close_,
    .describe = describe,
    .check_schema = check_schema,
    .preview = preview,
    .begin = begin,
    .partition = partition,
    .write = write_,
    .commit = commit,
    .abort = abort_,
    .discard = discard,
};

const mixflow_table *mixflow_sink_table(void) { return &table; }
