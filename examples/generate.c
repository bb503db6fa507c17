/* SPDX-License-Identifier: Apache-2.0
 *
 * The smallest program over librender: makes a picture, saves it with its attestation, and checks
 * it.
 *
 *     cc generate.c $(pkg-config --cflags --libs librender) -o generate
 *     RENDER_API_KEY=rk_... ./generate http://127.0.0.1:8080 "a red circle" out.png */
#include <stdio.h>
#include <stdlib.h>

#include <render.h>

static int save(const char *file, const void *bytes, size_t len)
{
    FILE *out = fopen(file, "wb");
    if (out == NULL) {
        perror(file);
        return 1;
    }
    size_t put = fwrite(bytes, 1, len, out);
    if (fclose(out) != 0 || put != len) {
        perror(file);
        return 1;
    }
    return 0;
}

/* The keys come from the gateway here, which proves only that file and attestation belong together.
 * To prove where a file is from, keep the keys from a day when you trusted the line. */
static int check(render_client *client, const render_output *output)
{
    char *attestation = NULL;
    char *keys = NULL;
    render_verdict verdict = RENDER_VERDICT_INIT;
    render_status status = render_attestation(client, output->asset_url, 5000, &attestation);
    if (status == RENDER_OK) {
        status = render_call(client, "GET", "/.well-known/jwks.json", NULL, &keys);
    }
    if (status == RENDER_OK) {
        status = render_verify(output->bytes, output->len, attestation, keys, &verdict);
        printf("%s\n", status == RENDER_OK ? "verified" : verdict.problem);
    } else {
        fprintf(stderr, "%s\n", render_client_error(client));
    }
    render_verdict_done(&verdict);
    render_free(attestation);
    render_free(keys);
    return (int)status;
}

static int run(render_client *client, const char *prompt, const char *file)
{
    render_generate_request request = RENDER_GENERATE_REQUEST_INIT;
    request.model = "builtin/plasma";
    request.prompt = prompt;
    request.fields_json = "{\"steps\": 8}";
    render_output output = RENDER_OUTPUT_INIT;
    render_status status = render_generate(client, &request, &output);
    if (status != RENDER_OK) {
        fprintf(stderr, "%s: %s\n", render_status_name(status), render_client_error(client));
        return (int)status;
    }
    printf("%s, %zu bytes, seed %lu: %s\n", output.content_type, output.len,
           (unsigned long)output.seed, output.asset_url);
    int rc = save(file, output.bytes, output.len);
    if (rc == 0) {
        rc = check(client, &output);
    }
    render_output_done(&output);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s URL PROMPT FILE\n", argv[0]);
        return RENDER_ERR_USAGE;
    }
    render_client *client = NULL;
    if (render_client_new(argv[1], getenv("RENDER_API_KEY"), &client) != RENDER_OK) {
        fprintf(stderr, "%s: not an http(s) URL, or RENDER_API_KEY is not a key\n", argv[1]);
        return RENDER_ERR_USAGE;
    }
    int rc = run(client, argv[2], argv[3]);
    render_client_free(client);
    return rc;
}
