/* SPDX-License-Identifier: Apache-2.0
 *
 * The gateway as the queue's host: runs jobs, tells which backends there are. */
#ifndef RD_GATEWAY_JOBRUN_H
#define RD_GATEWAY_JOBRUN_H

#include "gateway/run.h"

/* Opens gateway->waits and gateway->jobs with the backends of gateway->runtime. Nothing runs before
 * rd_jobs_go. */
rd_err rd_jobrun_open(struct rd_gateway *gateway, struct rd_why *why) RD_MUST;
/* `fresh` becomes gateway->runtime, whose reference it takes; on failure nothing has changed. */
rd_err rd_jobrun_switch(struct rd_gateway *gateway, struct rd_runtime *fresh) RD_MUST;

#endif
