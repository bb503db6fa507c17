/* SPDX-License-Identifier: Apache-2.0
 *
 * The request. See request.h. A field is written by one function for both forms: a member of a
 * JSON object, or a part of a form. The boundary between parts is 128 random bits, so nothing that
 * a caller wrote holds it. */
#include "engine/openai/request.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/id.h"
#include "base/limits.h"
#include "base/text.h"
#include "engine/http/reply.h"
#include "media/media.h"

static const struct {
    const char *name;
    const char *model, *owner; /* in its list of models: the first one's id or owner begins so */
    bool args_in_prompt;       /* <sd_cpp_extra_args>; and no WebP of an edit */
    bool bar_in_prompt;        /* "prompt|negative"; pictures by "file" or to /inpainting */
    bool video_forms;          /* takes /v1/videos as a form only; and the mask as mask_image */
    bool white_masks;          /* reads the mask's colours: ours go as they are */
} servers[RD_OPENAI_SERVERS_] = {
    [RD_OPENAI_ANY] = {.name = "OpenAI-compatible server"},
    [RD_OPENAI_SDCPP] = {"stable-diffusion.cpp", .model = "sd-cpp-local", .args_in_prompt = true,
                         .white_masks = true},
    [RD_OPENAI_VLLM] = {"vLLM-Omni", .owner = "vllm", .video_forms = true, .white_masks = true},
    [RD_OPENAI_SGLANG] = {"SGLang", .owner = "sglang", .white_masks = true},
    [RD_OPENAI_LOCALAI] = {"LocalAI", .bar_in_prompt = true, .white_masks = true},
};

const char *rd_openai_server_name(enum rd_openai_server server)
{
    return servers[server].name;
}

enum rd_openai_server rd_openai_server_of(const char *model, const char *owner)
{
    for (int i = RD_OPENAI_ANY + 1; i < RD_OPENAI_SERVERS_; i++) {
        if ((servers[i].model != NULL && rd_text_starts(model, servers[i].model)) ||
            (servers[i].owner != NULL && rd_text_starts(owner, servers[i].owner))) {
            return (enum rd_openai_server)i;
        }
    }
    return RD_OPENAI_ANY;
}

void rd_openai_request_init(struct rd_openai_request *request)
{
    memset(request, 0, sizeof *request);
    rd_buf_init(&request->mask, RD_LIMIT_UPLOAD_BYTES);
}

void rd_openai_request_done(struct rd_openai_request *request)
{
    rd_buf_done(&request->mask);
}

/* ---- fields, in either form ---- */

struct writer {
    struct rd_http_body *body;
    char boundary[RD_OPENAI_BOUNDARY_LEN + 1]; /* "": JSON */
    bool more;                                 /* of JSON: not the first member */
};

static void begin_field(struct writer *w, const char *name)
{
    struct rd_buf *text = &w->body->text;
    if (w->boundary[0] == '\0') {
        rd_buf_printf(text, "%s\"%s\":", w->more ? "," : "{", name);
        w->more = true;
    } else {
        rd_buf_printf(text, "--%s\r\nContent-Disposition: form-data; name=\"%s\"", w->boundary,
                      name);
    }
}

static void put_text(struct writer *w, const char *name, const char *value)
{
    struct rd_buf *text = &w->body->text;
    begin_field(w, name);
    if (w->boundary[0] == '\0') {
        rd_buf_json_str(text, value);
    } else {
        rd_buf_str(text, "\r\n\r\n");
        rd_buf_str(text, value);
        rd_buf_str(text, "\r\n");
    }
}

/* A number, or true, as text. */
static void put_word(struct writer *w, const char *name, const char *value)
{
    if (w->boundary[0] != '\0') {
        put_text(w, name, value);
        return;
    }
    begin_field(w, name);
    rd_buf_str(&w->body->text, value);
}

static void put_uint(struct writer *w, const char *name, uint32_t value)
{
    char word[16];
    (void)snprintf(word, sizeof word, "%" PRIu32, value);
    put_word(w, name, word);
}

static void put_number(struct writer *w, const char *name, double value)
{
    RD_AUTO_BUF struct rd_buf word;
    rd_buf_init(&word, 64);
    rd_buf_json_number(&word, value);
    put_word(w, name, rd_buf_cstr(&word));
}

static const char *picture_type(const uint8_t *bytes, size_t len)
{
    for (int i = 0; len >= RD_HTTP_MAGIC_LEN && i < RD_MEDIA_COUNT_; i++) {
        if (rd_http_magic_is(bytes, (enum rd_media)i)) {
            return rd_media_type((enum rd_media)i);
        }
    }
    return "application/octet-stream";
}

static void put_file(struct writer *w, const char *name, const void *bytes, size_t len)
{
    const char *type = picture_type(bytes, len);
    const char *slash = strchr(type, '/') + 1;
    begin_field(w, name);
    rd_buf_printf(&w->body->text, "; filename=\"%s.%s\"\r\nContent-Type: %s\r\n\r\n", name, slash,
                  type);
    rd_http_body_bytes(w->body, bytes, len);
    rd_buf_str(&w->body->text, "\r\n");
}

/* ---- the prompt ---- */

/* JSON that holds no '<', so that no text in it can end the element that it stands in. */
static void append_hidden(struct rd_buf *out, const struct rd_buf *json)
{
    for (size_t i = 0; i < json->len; i++) {
        if (json->data[i] == '<') {
            rd_buf_str(out, "\\u003c");
        } else {
            rd_buf_char(out, json->data[i]);
        }
    }
}

static const struct {
    const char *ours, *theirs;
} samplers[] =
    {
        {"euler", "euler"},
        {"euler_ancestral", "euler_a"},
        {"heun", "heun"},
        {"dpm_2", "dpm2"},
        {"dpmpp_2s_ancestral", "dpm++2s_a"},
        {"dpmpp_2m", "dpm++2m"},
        {"ipndm", "ipndm"},
        {"ipndm_v", "ipndm_v"},
        {"lcm", "lcm"},
        {"res_multistep", "res_multistep"},
        {"res_2s", "res_2s"},
},
  schedulers[] = {
      {"normal", "discrete"},         {"karras", "karras"}, {"exponential", "exponential"},
      {"sgm_uniform", "sgm_uniform"}, {"simple", "simple"}, {"kl_optimal", "kl_optimal"},
};

/* What stable-diffusion.cpp takes inside of the prompt: its own API's fields. */
static void write_args(struct rd_buf *json, const struct rd_generation *g, uint32_t seed)
{
    rd_buf_printf(json, "{\"seed\":%" PRIu32 ",\"negative_prompt\":", seed);
    rd_buf_json_str(json, g->negative_prompt != NULL ? g->negative_prompt : "");
    if (g->task == RD_TASK_I2I) {
        rd_buf_str(json, ",\"strength\":");
        rd_buf_json_number(json, g->strength);
    }
    if (g->clip_skip > 0) {
        rd_buf_printf(json, ",\"clip_skip\":%u", g->clip_skip);
    }
    rd_buf_printf(json, ",\"sample_params\":{\"sample_steps\":%u", g->steps);
    for (size_t i = 0; g->sampler != NULL && i < sizeof samplers / sizeof samplers[0]; i++) {
        if (strcmp(g->sampler, samplers[i].ours) == 0) {
            rd_buf_printf(json, ",\"sample_method\":\"%s\"", samplers[i].theirs);
        }
    }
    for (size_t i = 0; g->scheduler != NULL && i < sizeof schedulers / sizeof schedulers[0]; i++) {
        if (strcmp(g->scheduler, schedulers[i].ours) == 0) {
            rd_buf_printf(json, ",\"scheduler\":\"%s\"", schedulers[i].theirs);
        }
    }
    if (g->shift >= 0) {
        rd_buf_str(json, ",\"flow_shift\":");
        rd_buf_json_number(json, g->shift);
    }
    rd_buf_str(json, ",\"guidance\":{\"txt_cfg\":");
    rd_buf_json_number(json, g->cfg);
    rd_buf_str(json, ",\"distilled_guidance\":");
    rd_buf_json_number(json, g->guidance);
    rd_buf_str(json, "}}}");
}

static void append_without_bars(struct rd_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        rd_buf_char(out, *text == '|' ? ' ' : *text);
    }
}

/* The prompt as this server wants it. stable-diffusion.cpp takes the first element that it finds
 * and removes all: ours stands in front of the caller's text, which may hold one of its own. */
static rd_err put_prompt(struct writer *w, const struct rd_openai_request *r)
{
    const struct rd_generation *g = r->generation;
    RD_AUTO_BUF struct rd_buf prompt;
    rd_buf_init(&prompt, RD_MIB(1));
    if (servers[r->server].args_in_prompt) {
        RD_AUTO_BUF struct rd_buf json;
        rd_buf_init(&json, RD_MIB(1));
        write_args(&json, g, rd_generation_seed(g, r->output));
        RD_TRY(rd_buf_err(&json));
        rd_buf_str(&prompt, "<sd_cpp_extra_args>");
        append_hidden(&prompt, &json);
        rd_buf_str(&prompt, "</sd_cpp_extra_args>");
        rd_buf_str(&prompt, g->prompt);
    } else if (servers[r->server].bar_in_prompt) {
        append_without_bars(&prompt, g->prompt);
        if (g->negative_prompt != NULL && g->negative_prompt[0] != '\0') {
            rd_buf_char(&prompt, '|');
            append_without_bars(&prompt, g->negative_prompt);
        }
    } else {
        rd_buf_str(&prompt, g->prompt);
    }
    RD_TRY(rd_buf_err(&prompt));
    put_text(w, "prompt", rd_buf_cstr(&prompt));
    return RD_OK;
}

/* ---- the request ---- */

static const char *output_format(const struct rd_openai_request *r)
{
    enum rd_media media = r->generation->media;
    bool edit = rd_task_needs_image(r->generation->task);
    if (media == RD_MEDIA_WEBP && edit && servers[r->server].args_in_prompt) {
        media = RD_MEDIA_PNG; /* it refuses WebP there; picture.c makes it */
    }
    return strchr(rd_media_type(media), '/') + 1;
}

/* Guidance of a model that was trained with it, or classifier-free guidance: servers have one field
 * for both and the model decides what it means. A cfg of 1 means that there is none. */
static double guidance_scale(const struct rd_generation *g)
{
    return g->cfg > 1 || g->modality == RD_MODALITY_VIDEO ? g->cfg : g->guidance;
}

static void put_common(struct writer *w, const struct rd_openai_request *r)
{
    const struct rd_generation *g = r->generation;
    char size[32];
    (void)snprintf(size, sizeof size, "%ux%u", g->format->width, g->format->height);
    put_text(w, "model", r->model);
    put_text(w, "size", size);
    /* LocalAI hands it on in 31 bits and a sign, and below zero means any. */
    uint32_t seed = rd_generation_seed(g, r->output);
    put_uint(w, "seed", servers[r->server].bar_in_prompt ? seed & 0x7fffffffu : seed);
    put_uint(w, servers[r->server].bar_in_prompt ? "step" : "num_inference_steps", g->steps);
    put_number(w, "guidance_scale", guidance_scale(g));
    put_number(w, "true_cfg_scale", g->cfg);
    if (g->negative_prompt != NULL && g->negative_prompt[0] != '\0') {
        put_text(w, "negative_prompt", g->negative_prompt);
    }
    if (g->shift >= 0) {
        put_number(w, "flow_shift", g->shift);
    }
}

static void put_picture_fields(struct writer *w, const struct rd_openai_request *r)
{
    put_uint(w, "n", 1);
    put_text(w, "response_format", "b64_json");
    put_text(w, "output_format", output_format(r));
    if (r->generation->task == RD_TASK_I2I) {
        put_number(w, "strength", r->generation->strength);
    }
    if (r->stream) {
        put_word(w, "stream", "true");
        put_uint(w, "partial_images", 3);
    }
}

/* Seconds are whole there; a length that is not goes as frames, at the rate that servers use when
 * nothing is said. */
static void put_video_fields(struct writer *w, const struct rd_openai_request *r)
{
    enum { FPS = 24 };
    double duration = r->generation->duration;
    char seconds[16];
    (void)snprintf(seconds, sizeof seconds, "%.0f", ceil(duration));
    put_text(w, "seconds", seconds);
    if (ceil(duration) != duration) {
        put_uint(w, "fps", FPS);
        put_uint(w, "num_frames", (uint32_t)lround(duration * FPS));
    }
}

rd_err rd_openai_mask(const struct rd_source *mask, struct rd_buf *out, struct rd_why *why)
{
    struct rd_image image;
    struct rd_image both;
    struct rd_why reason = {""};
    rd_err err = rd_image_decode(mask->bytes, mask->bytes_len, 3, &image, &reason);
    if (err != RD_OK) {
        return err == RD_ERR_NO_MEMORY
                   ? err
                   : rd_why_set(why, RD_ERR_INVALID_REQUEST, "mask: %s", reason.text);
    }
    err = rd_image_new(image.width, image.height, 4, &both);
    if (err == RD_OK) {
        size_t count = (size_t)image.width * image.height;
        for (size_t i = 0; i < count; i++) {
            const uint8_t *in = image.pixels + 3 * i;
            uint8_t light = (uint8_t)((299u * in[0] + 587u * in[1] + 114u * in[2] + 500u) / 1000u);
            memset(both.pixels + 4 * i, light, 3);
            both.pixels[4 * i + 3] = (uint8_t)(255 - light);
        }
        err = rd_image_encode(&both, RD_MEDIA_PNG, 100, out);
        rd_image_done(&both);
    }
    rd_image_done(&image);
    return err;
}

static rd_err put_mask(struct writer *w, struct rd_openai_request *r, struct rd_why *why)
{
    const struct rd_source *mask = &r->generation->mask;
    if (!servers[r->server].white_masks) {
        if (r->mask.len == 0) { /* not made for an earlier output */
            RD_TRY(rd_openai_mask(mask, &r->mask, why));
        }
        put_file(w, "mask", r->mask.data, r->mask.len);
        return RD_OK;
    }
    put_file(w, servers[r->server].video_forms ? "mask_image" : "mask", mask->bytes,
             mask->bytes_len);
    return RD_OK;
}

bool rd_openai_request_is_slow(const struct rd_openai_request *request)
{
    return request->generation->mask.bytes != NULL && !servers[request->server].white_masks &&
           request->mask.len == 0;
}

/* Where it goes, and in which form. */
static bool choose_path(struct rd_openai_request *r)
{
    bool picture = r->generation->image.bytes != NULL;
    bool mask = r->generation->mask.bytes != NULL;
    if (rd_task_modality(r->generation->task) == RD_MODALITY_VIDEO) {
        r->path = "/v1/videos";
        return picture || servers[r->server].video_forms;
    }
    if (servers[r->server].bar_in_prompt) {
        r->path = mask ? "/v1/images/inpainting" : "/v1/images/generations";
        return mask;
    }
    r->path = picture ? "/v1/images/edits" : "/v1/images/generations";
    return picture;
}

static rd_err put_sources(struct writer *w, struct rd_openai_request *r, struct rd_why *why)
{
    const struct rd_source *image = &r->generation->image;
    bool video = rd_task_modality(r->generation->task) == RD_MODALITY_VIDEO;
    if (image->bytes != NULL && w->boundary[0] == '\0') { /* LocalAI only */
        begin_field(w, "file");
        rd_buf_char(&w->body->text, '"');
        rd_http_body_base64(w->body, image->bytes, image->bytes_len);
        rd_buf_char(&w->body->text, '"');
    } else if (image->bytes != NULL) {
        put_file(w, video ? "input_reference" : "image", image->bytes, image->bytes_len);
    }
    return r->generation->mask.bytes != NULL ? put_mask(w, r, why) : RD_OK;
}

rd_err rd_openai_request_make(struct rd_openai_request *request, struct rd_http_body *body,
                              struct rd_why *why)
{
    struct rd_openai_request *r = request;
    struct writer w = {.body = body};
    (void)snprintf(r->content_type, sizeof r->content_type, "application/json");
    if (choose_path(r)) {
        uint8_t random[RD_OPENAI_BOUNDARY_LEN / 2];
        rd_id_random(random, sizeof random);
        rd_text_hex(random, sizeof random, w.boundary);
        (void)snprintf(r->content_type, sizeof r->content_type, "multipart/form-data; boundary=%s",
                       w.boundary);
    }
    RD_TRY(put_prompt(&w, r));
    put_common(&w, r);
    if (rd_task_modality(r->generation->task) == RD_MODALITY_VIDEO) {
        put_video_fields(&w, r);
    } else {
        put_picture_fields(&w, r);
    }
    if (servers[r->server].bar_in_prompt && w.boundary[0] != '\0') {
        put_uint(&w, "steps", r->generation->steps); /* its /inpainting calls them so */
    }
    RD_TRY(put_sources(&w, r, why));
    if (w.boundary[0] == '\0') {
        rd_buf_char(&body->text, '}');
    } else {
        rd_buf_printf(&body->text, "--%s--\r\n", w.boundary);
    }
    return rd_http_body_seal(body);
}
