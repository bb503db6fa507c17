/* SPDX-License-Identifier: Apache-2.0
 *
 * `render completion SHELL`: scripts for bash, zsh and fish, written from the tables of commands
 * and options. zsh runs the bash script through its own bashcompinit. Everything that is printed
 * comes from our tables, never from a server, and holds no quotes but those escaped here. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* First words of the commands, each once. */
static void print_first_words(void)
{
    const char *last = "";
    for (const struct rd_cli_command *c = rd_cli_commands; c->name != NULL; c++) {
        size_t len = strcspn(c->name, " ");
        if (strncmp(c->name, last, len) != 0 || strcspn(last, " ") != len) {
            (void)printf("%.*s ", (int)len, c->name);
        }
        last = c->name;
    }
}

/* A command of two words whose first word stands here for the first time begins a group. */
static bool begins_group(const struct rd_cli_command *command)
{
    size_t len = strcspn(command->name, " ");
    return command->name[len] == ' ' &&
           (command == rd_cli_commands || strncmp(command[-1].name, command->name, len + 1) != 0);
}

static void print_second_words(const char *first, size_t len)
{
    for (const struct rd_cli_command *c = rd_cli_commands; c->name != NULL; c++) {
        if (strncmp(c->name, first, len) == 0 && c->name[len] == ' ') {
            (void)printf("%s ", c->name + len + 1);
        }
    }
}

static void print_bash_command(const struct rd_cli_command *command)
{
    const struct rd_cli_option *option = NULL;
    (void)printf("    '%s')\n        case $previous in\n", command->name);
    for (size_t i = 0; (option = rd_cli_option_at(command, i)) != NULL; i++) {
        if (option->argument == NULL) {
            continue;
        }
        (void)printf("        --%s", option->name);
        if (option->letter != 0) {
            (void)printf("|-%c", option->letter);
        }
        if (option->choices != NULL && option->choices[0] == '@') {
            (void)printf(") COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n");
        } else {
            (void)printf(") COMPREPLY=($(compgen -W '%s' -- \"$word\")); return ;;\n",
                         option->choices == NULL ? "" : option->choices);
        }
    }
    (void)printf("        esac\n        if [[ $word == -* ]]; then\n            words='");
    for (size_t i = 0; (option = rd_cli_option_at(command, i)) != NULL; i++) {
        (void)printf("--%s ", option->name);
    }
    const char *choices = command->choices == NULL ? "" : command->choices;
    (void)printf("'\n        else\n            words='%s'\n        fi\n",
                 choices[0] == '@' ? "" : choices);
    if (choices[0] == '@') {
        (void)printf(
            "        [[ $word == -* ]] || { COMPREPLY=($(compgen -f -- \"$word\")); return; }\n");
    }
    (void)printf("        ;;\n");
}

static void print_bash_group(const char *name, int len)
{
    (void)printf("    if [[ $command == %.*s ]]; then\n"
                 "        if (( COMP_CWORD == 2 )); then\n"
                 "            COMPREPLY=($(compgen -W '",
                 len, name);
    print_second_words(name, (size_t)len);
    (void)printf("' -- \"$word\"))\n            return\n        fi\n"
                 "        command=\"%.*s ${COMP_WORDS[2]}\"\n    fi\n",
                 len, name);
}

static void print_bash(void)
{
    (void)printf("# Completion of render for bash; written by `render completion bash`.\n"
                 "_render() {\n"
                 "    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
                 "    local words='' command=${COMP_WORDS[1]}\n"
                 "    COMPREPLY=()\n"
                 "    if (( COMP_CWORD == 1 )); then\n"
                 "        COMPREPLY=($(compgen -W '");
    print_first_words();
    (void)printf("help' -- \"$word\"))\n        return\n    fi\n");
    for (const struct rd_cli_command *c = rd_cli_commands; c->name != NULL; c++) {
        if (begins_group(c)) {
            print_bash_group(c->name, (int)strcspn(c->name, " "));
        }
    }
    (void)printf("    case $command in\n");
    for (const struct rd_cli_command *c = rd_cli_commands; c->name != NULL; c++) {
        print_bash_command(c);
    }
    (void)printf("    esac\n    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n}\n"
                 "complete -o filenames -F _render render\n");
}

static void print_zsh(void)
{
    (void)printf("#compdef render\n"
                 "# Completion of render for zsh; written by `render completion zsh`.\n"
                 "autoload -U +X bashcompinit && bashcompinit\n");
    print_bash();
}

/* Text between single quotes in fish: ' and \ are escaped. */
static void print_fish_quoted(const char *text)
{
    (void)putchar('\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\') {
            (void)putchar('\\');
        }
        (void)putchar(*text);
    }
    (void)putchar('\'');
}

static void print_fish_option(const struct rd_cli_option *option, const char *condition)
{
    (void)printf("complete -c render -n '%s' -l %s", condition, option->name);
    if (option->letter != 0) {
        (void)printf(" -s %c", option->letter);
    }
    if (option->argument != NULL) {
        bool file = option->choices != NULL && option->choices[0] == '@';
        (void)printf(file ? " -r -F" : " -x");
        if (!file && option->choices != NULL) {
            (void)printf(" -a '%s'", option->choices);
        }
    }
    (void)printf(" -d ");
    print_fish_quoted(option->help);
    (void)putchar('\n');
}

static void print_fish_command(const struct rd_cli_command *command)
{
    char condition[128];
    size_t len = strcspn(command->name, " ");
    const char *second = command->name[len] == ' ' ? command->name + len + 1 : NULL;
    if (second != NULL) {
        (void)printf("complete -c render -n '__fish_seen_subcommand_from %.*s' -a %s -d ", (int)len,
                     command->name, second);
    } else {
        (void)printf("complete -c render -n __fish_use_subcommand -a %s -d ", command->name);
    }
    print_fish_quoted(command->summary);
    (void)putchar('\n');
    (void)snprintf(condition, sizeof condition, "__fish_seen_subcommand_from %.*s%s%s", (int)len,
                   command->name, second != NULL ? "; and __fish_seen_subcommand_from " : "",
                   second != NULL ? second : "");
    const struct rd_cli_option *option = NULL;
    for (size_t i = 0; (option = rd_cli_option_at(command, i)) != NULL; i++) {
        print_fish_option(option, condition);
    }
    if (command->choices != NULL) {
        bool file = command->choices[0] == '@';
        (void)printf("complete -c render -n '%s' %s%s%s\n", condition, file ? "-F" : "-a '",
                     file ? "" : command->choices, file ? "" : "'");
    }
}

static void print_fish(void)
{
    (void)printf("# Completion of render for fish; written by `render completion fish`.\n"
                 "complete -c render -f\n");
    for (const struct rd_cli_command *c = rd_cli_commands; c->name != NULL; c++) {
        if (begins_group(c)) {
            (void)printf("complete -c render -n __fish_use_subcommand -a %.*s\n",
                         (int)strcspn(c->name, " "), c->name);
        }
        print_fish_command(c);
    }
}

int rd_cli_completion(struct rd_cli *cli)
{
    static const struct {
        const char *shell;
        void (*print)(void);
    } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        if (strcmp(cli->words[0], shells[i].shell) == 0) {
            shells[i].print();
            return rd_cli_finish(cli);
        }
    }
    return rd_cli_fail(cli, RENDER_ERR_USAGE, "completion: bash, zsh or fish");
}
