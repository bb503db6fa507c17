/* SPDX-License-Identifier: Apache-2.0
 *
 * `render verify`: offline. It needs the file, its attestation, and keys that the user trusts.
 * There is no default place for keys and no fetching of them: a key that came with the file proves
 * nothing, and a program that says "verified" must not have chosen whom to believe.
 *
 * `render reveal`: for the owner of an output, the salt that opens the statement's commitment to
 * the prompt; whoever gets prompt and salt can check them with `render verify --prompt --salt`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"

enum { ATTESTATION = RD_CLI_OWN, KEY, JWKS, PROMPT, SALT };

const struct rd_cli_option rd_cli_verify_options[] = {
    {"attestation", 'a', "FILE", "the attestation; else FILE.intoto.json", "@file"},
    {"key", 'k', "KEY", "a trusted Ed25519 public key, hex or base64", NULL},
    {"jwks", 'j', "FILE", "trusted keys as JWKS; else RENDER_JWKS", "@file"},
    {"prompt", 'p', "TEXT", "also check that this was the prompt; needs --salt", NULL},
    {"salt", 's', "HEX", "the prompt's salt, as the owner's `render reveal` prints it", NULL},
    {NULL, 0, NULL, NULL, NULL},
};

#define FILE_MAX ((size_t)4 << 30)
enum { KEYS_MAX = 1 << 20, ATTESTATION_MAX = 1 << 20 };

static int read_keys(struct rd_cli *cli, char **ret)
{
    const char *file = cli->values[JWKS];
    size_t len = 0;
    if (file != NULL && cli->values[KEY] != NULL) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE, "give --key or --jwks, not both");
    }
    if (cli->values[KEY] != NULL) {
        *ret = rd_mem_strdup(cli->values[KEY]);
        return *ret != NULL ? RENDER_OK : rd_cli_fail(cli, RENDER_ERR_MEMORY, "out of memory");
    }
    file = file != NULL ? file : getenv("RENDER_JWKS");
    if (file == NULL || file[0] == '\0') {
        return rd_cli_fail(cli, RENDER_ERR_USAGE,
                           "whose signature do you trust? Give --jwks FILE or --key KEY. To get a "
                           "gateway's keys, once and over a line that you trust: "
                           "render fetch /.well-known/jwks.json -o keys.json");
    }
    return rd_cli_read(cli, file, KEYS_MAX, ret, &len);
}

static int read_attestation(struct rd_cli *cli, char **ret)
{
    RD_AUTO_BUF struct rd_buf name;
    size_t len = 0;
    rd_buf_init(&name, RD_CLI_URL_MAX);
    rd_buf_printf(&name, "%s" RD_CLI_ATTESTATION_SUFFIX, cli->words[0]);
    const char *file = cli->values[ATTESTATION];
    return rd_cli_read(cli, file != NULL ? file : rd_buf_cstr(&name), ATTESTATION_MAX, ret, &len);
}

static void print_fact(const char *label, const char *text)
{
    if (text[0] != '\0') {
        (void)printf("  %-10s ", label);
        rd_cli_print_text(text, 0);
        (void)putchar('\n');
    }
}

/* What the verified statement says, in a few lines; what it does not say is left out. */
static void print_statement(const char *text)
{
    json_t *statement = text == NULL ? NULL : json_loads(text, 0, NULL);
    const json_t *predicate = json_object_get(statement, "predicate");
    const json_t *definition = json_object_get(predicate, "buildDefinition");
    const json_t *parameters = json_object_get(definition, "externalParameters");
    const json_t *run = json_object_get(predicate, "runDetails");
    const json_t *metadata = json_object_get(run, "metadata");
    print_fact("made by", rd_cli_json_text(json_object_get(run, "builder"), "id"));
    print_fact("finished", rd_cli_json_text(metadata, "finishedOn"));
    char model[256];
    const char *family = rd_cli_json_text(parameters, "family");
    (void)snprintf(model, sizeof model, "%s%s%s", family, family[0] == '\0' ? "" : "/",
                   rd_cli_json_text(parameters, "model"));
    print_fact("model", model);
    print_fact("task", rd_cli_json_text(parameters, "task"));
    print_fact("request", rd_cli_json_text(metadata, "invocationId"));
    json_decref(statement);
}

static int report_json(struct rd_cli *cli, render_status status, const render_verdict *verdict)
{
    json_t *statement =
        verdict->statement == NULL ? json_null() : json_loads(verdict->statement, 0, NULL);
    int rc = rd_cli_print_json(
        cli, json_pack("{s:s, s:b, s:b, s:b, s:b, s:s?, s:s?, s:o}", "file", cli->words[0],
                       "verified", status == RENDER_OK, "signature_ok", verdict->signature_ok,
                       "statement_ok", verdict->statement_ok, "subject_ok", verdict->subject_ok,
                       "key_id", verdict->key_id, "problem", verdict->problem, "statement",
                       statement == NULL ? json_null() : statement));
    return status == RENDER_OK ? rc : (int)status;
}

static int report(struct rd_cli *cli, render_status status, const render_verdict *verdict)
{
    if (status == RENDER_ERR_USAGE) {
        return rd_cli_fail(cli, status, "the trusted keys cannot be read: %s",
                           verdict->problem == NULL ? "no reason given" : verdict->problem);
    }
    if (status != RENDER_OK && status != RENDER_ERR_UNVERIFIED) {
        return rd_cli_fail(cli, status, "%s", render_status_name(status));
    }
    if (cli->json) {
        return report_json(cli, status, verdict);
    }
    if (status != RENDER_OK) {
        (void)printf("%s: NOT VERIFIED: ", cli->words[0]);
        rd_cli_print_text(verdict->problem == NULL ? "no reason given" : verdict->problem, 0);
        (void)printf("\n  signature  %s\n  statement  %s\n  file       %s\n",
                     verdict->signature_ok ? "good" : "not good",
                     verdict->statement_ok ? "good" : "not checked, or not good",
                     verdict->subject_ok ? "good" : "not checked, or another one");
        int rc = rd_cli_finish(cli);
        (void)rc;
        return (int)status;
    }
    (void)printf("%s: verified\n", cli->words[0]);
    if (!cli->quiet) {
        print_fact("signed by", verdict->key_id == NULL ? "" : verdict->key_id);
        print_statement(verdict->statement);
    }
    return rd_cli_finish(cli);
}

int rd_cli_verify(struct rd_cli *cli)
{
    RD_AUTO_FREE char *keys = NULL;
    RD_AUTO_FREE char *attestation = NULL;
    RD_AUTO_FREE char *bytes = NULL;
    size_t len = 0;
    if ((cli->values[PROMPT] == NULL) != (cli->values[SALT] == NULL)) {
        return rd_cli_fail(cli, RENDER_ERR_USAGE, "--prompt and --salt go together");
    }
    int rc = read_keys(cli, &keys);
    rc = rc == RENDER_OK ? rd_cli_read(cli, cli->words[0], FILE_MAX, &bytes, &len) : rc;
    rc = rc == RENDER_OK ? read_attestation(cli, &attestation) : rc;
    if (rc != RENDER_OK) {
        return rc;
    }
    render_verdict verdict = RENDER_VERDICT_INIT;
    render_status status = render_verify(bytes, len, attestation, keys, &verdict);
    if (status == RENDER_OK && cli->values[PROMPT] != NULL &&
        render_revealed(&verdict, "prompt", cli->values[PROMPT], cli->values[SALT]) == 0) {
        status = RENDER_ERR_UNVERIFIED;
        verdict.problem = rd_mem_strdup("the statement does not commit to this prompt and salt");
    }
    rc = report(cli, status, &verdict);
    render_verdict_done(&verdict);
    return rc;
}

int rd_cli_reveal(struct rd_cli *cli)
{
    RD_AUTO_FREE char *text = NULL;
    int rc = rd_cli_connect(cli);
    if (rc != RENDER_OK) {
        return rc;
    }
    const char *slash = strrchr(cli->words[0], '/'); /* an asset's URL ends in its id */
    RD_AUTO_BUF struct rd_buf path;
    rd_buf_init(&path, RD_CLI_URL_MAX);
    rd_buf_printf(&path, "/a/%s/reveal", slash == NULL ? cli->words[0] : slash + 1);
    render_status status = render_call(cli->client, "GET", rd_buf_cstr(&path), NULL, &text);
    if (status != RENDER_OK) {
        return rd_cli_client_failed(cli, status);
    }
    json_t *answer = json_loads(text, 0, NULL);
    const char *salt = rd_cli_json_text(json_object_get(answer, "salts"), "prompt");
    if (salt[0] == '\0') {
        json_decref(answer);
        return rd_cli_fail(cli, RENDER_ERR_SERVER, "the gateway's answer has no salt in it");
    }
    if (cli->json) {
        return rd_cli_print_json(cli, answer);
    }
    (void)puts(salt);
    json_decref(answer);
    return rd_cli_finish(cli);
}
