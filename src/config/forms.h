/* SPDX-License-Identifier: Apache-2.0
 *
 * What the texts of the configuration must look like: one form each, with the words for the error.
 */
#ifndef RD_CONFIG_FORMS_H
#define RD_CONFIG_FORMS_H

#include "yaml/read.h"

extern const struct rd_yaml_form rd_config_form_path;       /* "/etc/render/catalogue.yaml" */
extern const struct rd_yaml_form rd_config_form_host;       /* "images.internal", "10.0.0.5" */
extern const struct rd_yaml_form rd_config_form_origin;     /* "https://app.example.org" or "*" */
extern const struct rd_yaml_form rd_config_form_url;        /* of an engine, of any scheme */
extern const struct rd_yaml_form rd_config_form_public_url; /* "https://media.example.org" */

extern const struct rd_yaml_form rd_config_form_url_path;     /* "/health" */
extern const struct rd_yaml_form rd_config_form_tensor;       /* "GUIDANCE_SCALE" */
extern const struct rd_yaml_form rd_config_form_server_model; /* "flux_schnell" */
extern const struct rd_yaml_form rd_config_form_remote_model; /* "black-forest-labs/FLUX.1-dev" */
extern const struct rd_yaml_form rd_config_form_version;      /* "1" */

#endif
