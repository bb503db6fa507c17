/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands of `render`, and finding the one that was asked for. See cli.h. */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

const struct rd_cli_command rd_cli_commands[] = {
    {"generate", "PROMPT", 1, 1, "make a picture or a video",
     "PROMPT is the text; '-' reads it from standard input. The output goes to -o FILE, or\n"
     "to a file in this folder that is named by its content. FILE.intoto.json, beside it, is\n"
     "the signed attestation that `render verify` checks. The model is -m, or RENDER_MODEL,\n"
     "or builtin/plasma. --image and --mask take a local PNG, JPEG or WebP file, or an https\n"
     "or asset URL.\n"
     "\n"
     "Examples:\n"
     "  render generate 'a red circle on a blue sea' -o circle.png\n"
     "  render generate 'at night' --image circle.png --set strength=0.5 -o night.webp\n"
     "  render generate 'waves' --video --set duration=3 -o waves.mp4\n"
     "  render generate 'ideas' --count 4 --seed 7 -o idea.png   # idea-1.png to idea-4.png\n"
     "  render generate - --json < prompt.txt | jq -r '.outputs[0].asset_url'\n",
     rd_cli_generate_options, NULL, rd_cli_generate},
    {"jobs submit", "PROMPT", 1, 1, "put a generation into the queue",
     "Prints the job's id when it is safe in the queue. Options are those of `render generate`;\n"
     "-o and the like go with --wait, which waits for the end and saves the outputs.\n"
     "Exit code with --wait: 6 when the job fails, 10 when it is cancelled or its ttl is over.\n"
     "\n"
     "Examples:\n"
     "  render jobs submit 'a red circle on a blue sea'\n"
     "  render jobs submit 'at night' --wait -o night.png\n"
     "  render jobs submit 'tonight' --priority low --ttl 3600 --webhook https://app.example/hook\n"
     "  render jobs submit 'once' --idempotency-key order-4711   # twice is once\n",
     rd_cli_jobs_submit_options, NULL, rd_cli_jobs_submit},
    {"jobs list", "", 0, 0, "list jobs, newest first",
     "Shows your tenant's; an administrator's key shows all tenants'.\n"
     "\n"
     "Examples:\n"
     "  render jobs list --status running\n"
     "  render jobs list --json | jq -r '.jobs[].id'\n",
     rd_cli_jobs_list_options, NULL, rd_cli_jobs_list},
    {"jobs show", "ID", 1, 1, "show what is known of a job",
     "ID is the job's (j_...) as `render jobs submit` prints it.\n"
     "\n"
     "Example:\n"
     "  render jobs show j_0V8zT3kQ1mXw5bYc7nRd2s --json | jq .request\n",
     NULL, NULL, rd_cli_jobs_show},
    {"jobs cancel", "ID", 1, 1, "cancel a job, also while it runs",
     "A queued job is cancelled at once; a running one is told to stop. One that has ended is\n"
     "refused (exit code 4).\n"
     "\n"
     "Example:\n"
     "  render jobs cancel j_0V8zT3kQ1mXw5bYc7nRd2s\n",
     NULL, NULL, rd_cli_jobs_cancel},
    {"jobs watch", "[ID]...", 0, RD_CLI_WORDS_MAX, "follow jobs to their end",
     "Without an ID: all of yours that are queued or running, at most 64. On a terminal a table\n"
     "that is drawn anew; else a line for each event; with --json each line is an object.\n"
     "Exit code: 0 when all are complete, 6 when one failed, 10 when one was cancelled.\n"
     "\n"
     "Examples:\n"
     "  render jobs watch\n"
     "  render jobs watch \"$(render jobs submit 'a red circle')\" --json | jq .event\n",
     NULL, NULL, rd_cli_jobs_watch},
    {"jobs export", "", 0, 0, "write every job with its request, one JSON object a line",
     "Newest first. Pictures that stood in a request are left out.\n"
     "\n"
     "Example:\n"
     "  render jobs export --status error > failed.jsonl\n",
     rd_cli_jobs_export_options, NULL, rd_cli_jobs_export},
    {"models", "", 0, 0, "list the models and what each can do",
     "A model that is not available has no backend on this gateway.\n"
     "\n"
     "Examples:\n"
     "  render models\n"
     "  render models --json | jq -r '.models[] | select(.available) | .id'\n",
     NULL, NULL, rd_cli_models},
    {"backends", "", 0, 0, "list the servers behind the gateway (administrators)",
     "SLOTS are those in use and all. A backend gets no work while it is not ready (its own "
     "word),\n"
     "while its breaker is open (half of its last runs failed), or in quarantine.\n"
     "\n"
     "Examples:\n"
     "  render backends --key-file data/admin.key\n"
     "  render backends --json | jq -r '.backends[] | select(.ready | not) | .name'\n",
     NULL, NULL, rd_cli_backends},
    {"upload", "FILE", 1, 1, "upload a picture to use as an input",
     "FILE is a PNG, JPEG or WebP file of at most 50 MiB. Prints the asset's URL, to be given\n"
     "to `render generate --image`.\n"
     "\n"
     "Example:\n"
     "  render generate 'in oil' --image \"$(render upload photo.jpg)\" -o oil.png\n",
     NULL, "@file", rd_cli_upload},
    {"fetch", "ASSET", 1, 1, "download an asset",
     "ASSET is an id (a_...), a URL, or a path of the gateway (/...).\n"
     "\n"
     "Examples:\n"
     "  render fetch a_6437b3ac38465133... -o picture.png --attestation\n"
     "  render fetch /.well-known/jwks.json -o keys.json   # the keys for `render verify`\n",
     rd_cli_fetch_options, NULL, rd_cli_fetch},
    {"verify", "FILE", 1, 1, "check that a file is what a gateway signed (offline)",
     "Compares FILE with its attestation (FILE.intoto.json, or --attestation) and the\n"
     "attestation's signature with keys that you trust: --jwks, --key, or the file named by\n"
     "RENDER_JWKS. No network is used. Exit code 0: it holds; 9: it does not.\n"
     "\n"
     "Get the keys once, over a line that you trust, and keep them:\n"
     "  render fetch /.well-known/jwks.json -o keys.json\n"
     "\n"
     "Examples:\n"
     "  render verify circle.png --jwks keys.json\n"
     "  render verify circle.png --key 11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n",
     rd_cli_verify_options, "@file", rd_cli_verify},
    {"reveal", "ASSET", 1, 1, "print the salt that opens your prompt's commitment",
     "A statement commits to the prompt without showing it. Publish the prompt with this salt,\n"
     "and anybody can check that it was the one. Only the tenant that made the output gets a\n"
     "salt that fits. ASSET is its id or URL.\n"
     "\n"
     "Examples:\n"
     "  render reveal a_6437b3ac38465133...\n"
     "  render verify circle.png --jwks keys.json --prompt 'a red circle' --salt 5c3f...\n",
     NULL, NULL, rd_cli_reveal},
    {"keys create", "", 0, 0, "make an API key (administrators)",
     "The key is shown once and cannot be read again. With -o it is written to a file that\n"
     "only you can read, and not shown.\n"
     "\n"
     "Examples:\n"
     "  render keys create --tenant acme --name ci --key-file data/admin.key\n"
     "  render keys create --tenant acme --name week --scopes read --expires 7d -o acme.key\n",
     rd_cli_keys_create_options, NULL, rd_cli_keys_create},
    {"keys list", "", 0, 0, "list API keys",
     "Shows your tenant's keys; an administrator's key shows all tenants'.\n", NULL, NULL,
     rd_cli_keys_list},
    {"keys revoke", "ID", 1, 1, "revoke an API key at once",
     "ID is the key's id (key_...) as `render keys list` shows it, never the key itself.\n"
     "\n"
     "Example:\n"
     "  render keys revoke key_0V8zT3kQ1mXw5bYc7nRd2s\n",
     NULL, NULL, rd_cli_keys_revoke},
    {"webhooks list", "", 0, 0, "list messages to webhooks, newest first",
     "Shows your tenant's; an administrator's key shows all tenants'. A message is tried ten\n"
     "times over three days. `disabled`: the endpoint answered 410, it wants no more.\n"
     "\n"
     "Example:\n"
     "  render webhooks list --status failed\n",
     rd_cli_webhooks_list_options, NULL, rd_cli_webhooks_list},
    {"webhooks replay", "ID", 1, 1, "send a message again, now",
     "ID is the message's (msg_...) as `render webhooks list` shows it. It is sent from the\n"
     "first try on, with the same id; an endpoint that was disabled gets messages again.\n"
     "\n"
     "Example:\n"
     "  render webhooks replay msg_0V8zT3kQ1mXw5bYc7nRd2s\n",
     NULL, NULL, rd_cli_webhooks_replay},
    {"webhooks test", "URL", 1, 1, "send one signed test message, and say what came back",
     "Exit code 0: the endpoint took it (2xx); 9: it did not.\n"
     "\n"
     "Example:\n"
     "  render webhooks test https://app.example.org/hooks/render\n",
     NULL, NULL, rd_cli_webhooks_test},
    {"webhooks secret", "", 0, 0, "print the secret that messages are verified with",
     "whsec_... for every library of Standard Webhooks. The public key (whpk_...), for those\n"
     "that know v1a, goes to standard error, or with --json beside the secret.\n"
     "\n"
     "Examples:\n"
     "  render webhooks secret > hook.secret\n"
     "  render webhooks secret --rotate --json\n",
     rd_cli_webhooks_secret_options, NULL, rd_cli_webhooks_secret},
    {"completion", "SHELL", 1, 1, "print a completion script for bash, zsh or fish",
     "Examples:\n"
     "  render completion bash > /etc/bash_completion.d/render\n"
     "  render completion zsh > ~/.zfunc/_render     # with ~/.zfunc in fpath\n"
     "  render completion fish > ~/.config/fish/completions/render.fish\n",
     NULL, "bash zsh fish", rd_cli_completion},
    {NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL},
};

/* The command that the arguments begin with; *ret_used says how many of them its name takes. */
static const struct rd_cli_command *find(int argc, char **argv, int *ret_used)
{
    for (const struct rd_cli_command *command = rd_cli_commands; command->name != NULL; command++) {
        const char *space = strchr(command->name, ' ');
        size_t first = space == NULL ? strlen(command->name) : (size_t)(space - command->name);
        if (argc < 1 || strlen(argv[0]) != first || strncmp(argv[0], command->name, first) != 0) {
            continue;
        }
        if (space == NULL || (argc > 1 && strcmp(argv[1], space + 1) == 0)) {
            *ret_used = space == NULL ? 1 : 2;
            return command;
        }
    }
    return NULL;
}

static bool is_help(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static int unknown(int argc, char **argv)
{
    bool group = false;
    size_t len = strlen(argv[0]);
    for (const struct rd_cli_command *command = rd_cli_commands; command->name != NULL; command++) {
        if (strncmp(command->name, argv[0], len) == 0 && command->name[len] == ' ') {
            if (!group) {
                (void)fprintf(stderr, "render: '%s' needs one of these:\n", argv[0]);
            }
            (void)fprintf(stderr, "  render %-16s %s\n", command->name, command->summary);
            group = true;
        }
    }
    if (!group && argv[0][0] == '-') {
        (void)fprintf(stderr, "render: the command comes first, then its options; `render help` "
                              "lists both\n");
    } else if (!group) {
        (void)fprintf(stderr, "render: there is no command '%s'; `render help` lists all\n",
                      argv[0]);
    }
    (void)argc;
    return RENDER_ERR_USAGE;
}

int main(int argc, char **argv)
{
    int used = 0;
    (void)setlocale(LC_CTYPE, "");
    (void)signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the write, told as such */
    if (argc < 2) {
        rd_cli_print_help(NULL);
        return RENDER_ERR_USAGE;
    }
    if (is_help(argv[1])) {
        const struct rd_cli_command *command = find(argc - 2, argv + 2, &used);
        if (argc > 2 && command == NULL) {
            return unknown(argc - 2, argv + 2);
        }
        rd_cli_print_help(command);
        return RENDER_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("render %s\n", render_version());
        return RENDER_OK;
    }
    struct rd_cli cli = {.command = find(argc - 1, argv + 1, &used)};
    if (cli.command == NULL) {
        return unknown(argc - 1, argv + 1);
    }
    int rc = rd_cli_parse(&cli, argc - 1 - used, argv + 1 + used);
    if (rc == RENDER_OK && cli.values[RD_CLI_HELP] != NULL) {
        rd_cli_print_help(cli.command);
    } else if (rc == RENDER_OK) {
        rc = cli.command->run(&cli);
    }
    render_client_free(cli.client);
    return rc;
}
