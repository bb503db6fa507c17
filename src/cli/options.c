/* SPDX-License-Identifier: Apache-2.0
 *
 * Options by table, and the help from the same tables. Written forms: --name VALUE, --name=VALUE,
 * -n VALUE, -nVALUE; "--" ends the options. An option that is given twice is refused, except --set:
 * which of the two was meant cannot be known. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"

const struct rd_cli_option rd_cli_common[RD_CLI_OWN + 1] = {
    [RD_CLI_URL] = {"url", 0, "URL", "the gateway; else RENDER_URL, else http://127.0.0.1:8080",
                    NULL},
    [RD_CLI_KEY_FILE] = {"key-file", 0, "FILE", "the API key, in a file; else RENDER_API_KEY",
                         "@file"},
    [RD_CLI_CA_FILE] = {"ca-file", 0, "FILE", "certificates to trust instead of the system's (PEM)",
                        "@file"},
    [RD_CLI_JSON] = {"json", 0, NULL, "print one JSON value, for scripts", NULL},
    [RD_CLI_QUIET] = {"quiet", 'q', NULL, "no progress and no warnings", NULL},
    [RD_CLI_HELP] = {"help", 'h', NULL, "this help", NULL},
    [RD_CLI_OWN] = {NULL, 0, NULL, NULL, NULL},
};

const struct rd_cli_option *rd_cli_option_at(const struct rd_cli_command *command, size_t position)
{
    if (position < RD_CLI_OWN) {
        return &rd_cli_common[position];
    }
    if (command->options == NULL) {
        return NULL;
    }
    for (size_t i = 0; command->options[i].name != NULL; i++) {
        if (i == position - RD_CLI_OWN) {
            return &command->options[i];
        }
    }
    return NULL;
}

/* The option that `text` ("--name", "--name=value", "-n", "-nvalue") names; *ret_value is what
 * stands in the same word, or NULL. */
static const struct rd_cli_option *find(const struct rd_cli_command *command, const char *text,
                                        size_t *ret_position, const char **ret_value)
{
    const struct rd_cli_option *option = NULL;
    for (size_t i = 0; (option = rd_cli_option_at(command, i)) != NULL; i++) {
        *ret_position = i;
        if (text[1] == '-') {
            size_t len = strcspn(text + 2, "=");
            if (rd_text_eq(text + 2, len, option->name)) {
                *ret_value = text[2 + len] == '=' ? text + 2 + len + 1 : NULL;
                return option;
            }
        } else if (option->letter != 0 && text[1] == option->letter) {
            *ret_value = text[2] != '\0' ? text + 2 : NULL;
            return option;
        }
    }
    return NULL;
}

static int wrong(const struct rd_cli *cli, const char *text, const char *problem)
{
    (void)fprintf(stderr, "render: %.100s: %s; see `render help %s`\n", text, problem,
                  cli->command->name);
    return RENDER_ERR_USAGE;
}

/* People type --key first: tell them why not. */
static int unknown_option(const struct rd_cli *cli, const char *text)
{
    if (rd_text_starts(text, "--key=") || strcmp(text, "--key") == 0 ||
        strcmp(text, "--api-key") == 0) {
        return wrong(cli, "--key",
                     "a key in the arguments can be read by every user of this machine; "
                     "put it in RENDER_API_KEY or in a --key-file");
    }
    return wrong(cli, text, "there is no such option");
}

static int take_option(struct rd_cli *cli, int argc, char **argv, int *index)
{
    const char *text = argv[*index];
    size_t position = 0;
    const char *value = NULL;
    const struct rd_cli_option *option = find(cli->command, text, &position, &value);
    if (option == NULL) {
        return unknown_option(cli, text);
    }
    if (option->argument == NULL && value != NULL) {
        return wrong(cli, text, "this option takes no value");
    }
    if (option->argument != NULL && value == NULL) {
        if (*index + 1 >= argc) {
            return wrong(cli, text, "a value must follow");
        }
        value = argv[++*index];
    }
    if (strcmp(option->name, "set") == 0) {
        if (cli->set_count == RD_CLI_SETS_MAX) {
            return wrong(cli, text, "at most 64 times");
        }
        cli->sets[cli->set_count++] = value;
        return RENDER_OK;
    }
    if (cli->values[position] != NULL) {
        return wrong(cli, text, "given twice");
    }
    cli->values[position] = value == NULL ? "" : value;
    return RENDER_OK;
}

int rd_cli_parse(struct rd_cli *cli, int argc, char **argv)
{
    bool options = true;
    for (int i = 0; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && argv[i][0] == '-' && argv[i][1] != '\0') {
            int rc = take_option(cli, argc, argv, &i);
            if (rc != RENDER_OK) {
                return rc;
            }
        } else if (cli->word_count == cli->command->words_max) {
            return wrong(cli, argv[i],
                         cli->command->words_max == 0
                             ? "this command takes no such argument"
                             : "one argument too many (quote it if it has spaces)");
        } else {
            cli->words[cli->word_count++] = argv[i];
        }
    }
    cli->json = cli->values[RD_CLI_JSON] != NULL;
    cli->quiet = cli->values[RD_CLI_QUIET] != NULL;
    if (cli->values[RD_CLI_HELP] == NULL && cli->word_count < cli->command->words_min) {
        return wrong(cli, cli->command->words, "is missing");
    }
    return RENDER_OK;
}

static void print_options(const struct rd_cli_option *options)
{
    for (const struct rd_cli_option *o = options; o != NULL && o->name != NULL; o++) {
        char left[64];
        (void)snprintf(left, sizeof left, "%c%c%c --%s%s%s", o->letter != 0 ? '-' : ' ',
                       o->letter != 0 ? o->letter : ' ', o->letter != 0 ? ',' : ' ', o->name,
                       o->argument != NULL ? " " : "", o->argument != NULL ? o->argument : "");
        (void)printf("  %-26s %s\n", left, o->help);
    }
}

static void print_overview(void)
{
    (void)printf("render %s: pictures and videos from a Render gateway\n"
                 "\n"
                 "usage: render COMMAND [ARGUMENT] [OPTION]...\n"
                 "\n",
                 render_version());
    for (const struct rd_cli_command *command = rd_cli_commands; command->name != NULL; command++) {
        (void)printf("  %-16s %s\n", command->name, command->summary);
    }
    (void)printf("\nOptions of every command:\n");
    print_options(rd_cli_common);
    (void)printf(
        "\n"
        "Begin like this (the gateway wrote its first key to admin.key in its data folder):\n"
        "  export RENDER_URL=http://127.0.0.1:8080 RENDER_API_KEY=\"$(cat data/admin.key)\"\n"
        "  render generate 'a red circle on a blue sea' -o circle.png\n"
        "  render fetch /.well-known/jwks.json -o keys.json\n"
        "  render verify circle.png --jwks keys.json\n"
        "\n"
        "Exit codes: 0 good, 1 wrong arguments, 2 gateway not reached, 3 key refused,\n"
        "4 request refused, 5 busy (try again), 6 gateway failed, 7 no memory, 8 local file,\n"
        "9 not verified, 10 given up.\n"
        "`render help COMMAND` says more, with examples.\n");
}

void rd_cli_print_help(const struct rd_cli_command *command)
{
    if (command == NULL) {
        print_overview();
        return;
    }
    (void)printf("render %s: %s\n\nusage: render %s%s%s [OPTION]...\n\n", command->name,
                 command->summary, command->name, command->words[0] == '\0' ? "" : " ",
                 command->words);
    (void)printf("%s", command->help);
    if (command->options != NULL) {
        (void)printf("\nOptions:\n");
        print_options(command->options);
    }
    (void)printf("\nCommon options:\n");
    print_options(rd_cli_common);
}
