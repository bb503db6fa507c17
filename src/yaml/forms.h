/* SPDX-License-Identifier: Apache-2.0
 *
 * Forms of text that more than one schema uses. */
#ifndef RD_YAML_FORMS_H
#define RD_YAML_FORMS_H

#include "yaml/read.h"

enum { RD_YAML_NAME_LEN_MAX = 64 };

extern const struct rd_yaml_form rd_yaml_form_name;  /* "box1", "anti_blur" */
extern const struct rd_yaml_form rd_yaml_form_model; /* "flux/dev": two names */

#endif
