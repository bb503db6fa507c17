/* SPDX-License-Identifier: Apache-2.0
 *
 * What a script prints, as lines and as last words: any bytes, no crash, every member inside its
 * range, and what ends up in our own texts is one line of valid UTF-8. The first byte says in which
 * pieces the bytes come. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/process/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static double last_fraction;

static void on_progress(void *ctx, double fraction, unsigned step)
{
    (void)ctx;
    if (!(fraction >= last_fraction && fraction <= 1) || step > 20) {
        abort();
    }
    last_fraction = fraction;
}

static void must_be_harmless(const char *text)
{
    if (!rd_text_utf8_valid(text, strlen(text))) {
        abort();
    }
    for (size_t i = 0; text[i] != '\0'; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rd_generation generation = {.count = 3, .steps = 20};
    static struct rd_engine_run run;
    char words[RD_PROCESS_WORDS_SHOWN + 1];
    memset(&run, 0, sizeof run);
    run.job.generation = &generation;
    run.job.sink.progress = on_progress;
    last_fraction = 0;
    size_t piece = size > 0 ? 1 + data[0] : 1;
    for (size_t at = 1; at < size; at += piece) {
        size_t left = size - at;
        rd_process_stdout_bytes(&run, (const char *)data + at, left < piece ? left : piece);
    }
    rd_process_words_last(&run.words, words);
    must_be_harmless(words);
    must_be_harmless(run.device);
    must_be_harmless(run.why.text);
    if (run.told_ns > 1000000 * (uint64_t)1000000000 ||
        (run.err != RD_OK && run.err != RD_ERR_BACKEND_FAILED)) {
        abort();
    }
    return 0;
}
