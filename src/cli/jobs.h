/* SPDX-License-Identifier: Apache-2.0
 *
 * What the commands about jobs share (jobs.c). */
#ifndef RD_CLI_JOBS_H
#define RD_CLI_JOBS_H

#include "cli/cli.h"

enum { RD_CLI_JOB_TEXT_MAX = 256 };

/* The exit code for how a job ended: 0, 6 (it failed) or 10 (cancelled, or given up in the queue).
 */
int rd_cli_job_code(const char *status, const char *error_code);
/* One line about an event: "running 45%, step 10". From a server: to be printed as such. */
void rd_cli_job_line(const render_job_event *event, const json_t *data, char *ret, size_t room);
/* A Job's JSON as an object; after saying what is wrong with it, NULL. */
json_t *rd_cli_job_parse(struct rd_cli *cli, const char *text);

#endif
