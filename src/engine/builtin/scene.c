/* SPDX-License-Identifier: Apache-2.0
 *
 * The composition. See scene.h. */
#include "engine/builtin/scene.h"

#include <string.h>

#include "engine/builtin/land.h"
#include "engine/builtin/palette.h"

enum { BAND_ROWS = 32 };

static int32_t short_side(const struct rd_frame *frame)
{
    return frame->width < frame->height ? frame->width : frame->height;
}

static void fill_lut(struct rd_scene *scene)
{
    static const int32_t at[RD_PALETTE_STOPS] = {0, 270, 540, 800, 1023};
    const struct rd_rgb *stops = scene->plan->palette;
    for (int32_t i = 0; i < 1024; i++) {
        size_t k = 0;
        while (k + 2 < RD_PALETTE_STOPS && i >= at[k + 1]) {
            k++;
        }
        int32_t t = (i - at[k]) * 65536 / (at[k + 1] - at[k]);
        int32_t eased = (t + rd_noise_smooth(t)) / 2 / 256;
        struct rd_rgb c = rd_palette_mix(stops[k], stops[k + 1], eased > 256 ? 256 : eased);
        scene->lut[i][0] = c.r;
        scene->lut[i][1] = c.g;
        scene->lut[i][2] = c.b;
    }
}

rd_err rd_scene_new(const struct rd_plan *plan, int32_t width, int32_t height, int32_t nodes_max,
                    struct rd_scene *ret)
{
    struct rd_scene scene = {.plan = plan};
    RD_TRY(rd_field_new(width, height, nodes_max, &scene.field));
    rd_scene_reframe(&scene, &(struct rd_frame){0, 0, width, height});
    fill_lut(&scene);
    *ret = scene;
    return RD_OK;
}

void rd_scene_reframe(struct rd_scene *scene, const struct rd_frame *frame)
{
    const struct rd_plan *plan = scene->plan;
    scene->frame = *frame;
    scene->horizon = 0;
    if (plan->scenic || plan->water) {
        scene->horizon = frame->y + frame->height * (plan->water ? 63 : 66) / 100;
    }
}

void rd_scene_done(struct rd_scene *scene)
{
    rd_field_done(&scene->field);
}

/* Where a subject is at this place of the loop: each kind moves in its own way. */
static void pose_subject(const struct rd_scene *scene, const struct rd_plan_subject *s,
                         uint32_t turn, struct rd_pose *ret)
{
    const struct rd_frame *f = &scene->frame;
    int64_t side = short_side(f);
    int64_t motion = scene->plan->motion;
    uint32_t phase = s->seed & 0xffff;
    /* differences from the place at turn 0, so that a video starts where the picture is */
    int64_t sway = rd_noise_sin(turn + phase) - rd_noise_sin(phase);
    int64_t bob = rd_noise_cos(turn + phase) - rd_noise_cos(phase);
    int64_t x = (int64_t)f->x * 256 + (int64_t)s->x * f->width / 256;
    int64_t y = (int64_t)f->y * 256 + (int64_t)s->y * f->height / 256;
    int64_t reach = motion * side / 256; /* motion as 1/256 pixels of the short side */
    *ret = (struct rd_pose){.size = (int32_t)(s->size * side / 256)};
    bool flies = s->kind == RD_SHAPE_BIRD || s->kind == RD_SHAPE_FISH;
    bool rooted = rd_words_subjects[s->kind].rooted;
    if (!rooted) {
        x += sway * reach / 32768 * (flies ? 12 : 3) / 100;
        y += bob * reach / 32768 * (flies ? 4 : 3) / 100;
    }
    if (s->kind == RD_SHAPE_BOAT || s->kind == RD_SHAPE_FLOWER || s->kind == RD_SHAPE_STAR) {
        ret->tilt = (uint32_t)(int32_t)(sway * motion / 65536 * 1700 / 32768);
    } else if (s->kind == RD_SHAPE_SUN && motion > 0) {
        ret->tilt = turn / 16; /* sixteen rays: a sixteenth of a turn looks like none */
    } else if (s->kind == RD_SHAPE_HEART) {
        ret->size += (int32_t)(bob * ret->size / 32768 * motion / 65536 / 8);
    }
    ret->skip = s->kind == RD_SHAPE_SUN && scene->horizon > 0 ? 2 : 0;
    ret->x = (int32_t)x;
    ret->y = (int32_t)y;
}

/* The flow runs round what is round: subjects first, then the largest stars. */
static void find_vortices(const struct rd_scene *scene, struct rd_moment *moment)
{
    for (size_t i = 0; i < scene->plan->subjects_count; i++) {
        const struct rd_plan_subject *s = &scene->plan->subjects[i];
        bool round = s->kind <= RD_SHAPE_PLANET || s->kind == RD_SHAPE_CIRCLE ||
                     s->kind == RD_SHAPE_RING || s->kind == RD_SHAPE_STAR ||
                     s->kind == RD_SHAPE_HEART || s->kind == RD_SHAPE_FLOWER;
        if (round && moment->vortices_count < RD_FIELD_VORTICES) {
            struct rd_pose pose;
            pose_subject(scene, s, moment->turn, &pose);
            int32_t reach = (pose.size >> 8) * (s->kind <= RD_SHAPE_PLANET ? 36 : 22) / 10;
            moment->vortices[moment->vortices_count++] =
                (struct rd_vortex){pose.x >> 8, pose.y >> 8, reach > 0 ? reach : 1};
        }
    }
    if (scene->plan->stars) {
        rd_land_star_vortices(scene, moment);
    }
}

/* One row of the background; `left`..`right` of the node rows around it are mixed by `fy` (Q8). */
static void background_row(const struct rd_scene *scene, int32_t y, uint8_t *p)
{
    const struct rd_field *field = &scene->field;
    int32_t row = y / field->cell;
    int32_t fy = (y - row * field->cell) * 256 / field->cell;
    const struct rd_node *a = &field->nodes[row * field->columns];
    const struct rd_node *b =
        &field->nodes[(row + 1 < field->rows ? row + 1 : row) * field->columns];
    int32_t x = 0;
    for (int32_t column = 0; column + 1 < field->columns; column++, a++, b++) {
        int32_t v0 = a[0].value * 256 + (b[0].value - a[0].value) * fy; /* Q8 */
        int32_t v1 = a[1].value * 256 + (b[1].value - a[1].value) * fy;
        int32_t s0 = a[0].shade * 256 + (b[0].shade - a[0].shade) * fy;
        int32_t s1 = a[1].shade * 256 + (b[1].shade - a[1].shade) * fy;
        int32_t dv = (v1 - v0) / field->cell;
        int32_t ds = (s1 - s0) / field->cell;
        for (int32_t i = 0; i < field->cell && x < field->width; i++, x++, p += 3) {
            const uint8_t *c = scene->lut[v0 >> 14];
            int32_t gain = 256 + (s0 >> 8) / 320; /* +- a quarter */
            for (int k = 0; k < 3; k++) {
                int32_t lit = c[k] * gain >> 8;
                p[k] = (uint8_t)(lit > 255 ? 255 : lit);
            }
            v0 += dv;
            s0 += ds;
        }
    }
}

/* The subject's own light or shadow on what is behind it. */
static void halo(const struct rd_scene *scene, const struct rd_plan_subject *s,
                 const struct rd_pose *pose, struct rd_surface *surface)
{
    const struct rd_plan *plan = scene->plan;
    int32_t centre[2] = {pose->x >> 8, pose->y >> 8};
    int32_t radius = pose->size >> 8;
    int32_t light = plan->glow > 256 ? 256 : plan->glow;
    if (s->kind <= RD_SHAPE_PLANET) {
        struct rd_rgb pale = rd_palette_mix(s->rgb, (struct rd_rgb){255, 240, 205}, 90);
        int32_t strength = s->kind == RD_SHAPE_PLANET ? light / 3 : light;
        rd_shapes_glow(surface, centre, radius * 5, pale, strength * 3 / 4);
        rd_shapes_glow(surface, centre, radius * 5 / 2, pale, strength * 5 / 4);
    } else if (s->kind >= RD_SHAPE_CIRCLE) {
        int32_t below[2] = {centre[0] + radius / 14, centre[1] + radius / 6};
        struct rd_rgb dark = rd_palette_mix(plan->palette[0], (struct rd_rgb){8, 6, 20}, 90);
        rd_shapes_glow(surface, below, radius * 16 / 10, dark, 150 * plan->subject_alpha / 256);
        if (plan->glow > 128) { /* cfg above 1 */
            struct rd_rgb pale = rd_palette_mix(s->rgb, (struct rd_rgb){255, 244, 214}, 110);
            rd_shapes_glow(surface, centre, radius * 2, pale, (plan->glow - 128) * 3 / 5);
        }
    }
}

static rd_err draw_subject(const struct rd_scene *scene, const struct rd_plan_subject *s,
                           uint32_t turn, struct rd_surface *surface, const struct rd_pulse *pulse)
{
    struct rd_pose pose;
    pose_subject(scene, s, turn, &pose);
    if (s->kind == RD_SHAPE_MOUNTAIN || s->kind == RD_SHAPE_HILL) {
        return rd_land_draw(scene, s, pose.x >> 8, surface, pulse);
    }
    halo(scene, s, &pose, surface);
    rd_shapes_draw(surface, s->kind, &pose, s->rgb, scene->plan->subject_alpha);
    return rd_pulse_check(pulse);
}

/* What a scene needs below its horizon when no subject brought it. */
static rd_err draw_ground(const struct rd_scene *scene, uint32_t turn, struct rd_surface *surface,
                          const struct rd_pulse *pulse)
{
    const struct rd_plan *plan = scene->plan;
    bool rooted = false;
    bool hill = false;
    for (size_t i = 0; i < plan->subjects_count; i++) {
        rooted |= rd_words_subjects[plan->subjects[i].kind].rooted;
        hill |= plan->subjects[i].kind == RD_SHAPE_HILL;
    }
    if (plan->water) {
        RD_TRY(rd_land_water(scene, turn, surface, pulse));
    }
    if (plan->water ? rooted : !hill) {
        struct rd_rgb leaf = {58, 104, 52};
        struct rd_plan_subject ground = {
            .kind = RD_SHAPE_HILL,
            .rgb = rd_palette_mix(rd_palette_mix(plan->palette[1], plan->palette[2], 80), leaf, 96),
            .y = 65536 * (plan->water ? 84 : 73) / 100,
            .size = 65536 * (plan->water ? 4 : 9) / 100,
            .seed = rd_noise_hash(plan->seed, 3, 0, 0x6e0),
        };
        return rd_land_draw(scene, &ground, scene->frame.x + scene->frame.width / 2, surface,
                            pulse);
    }
    return RD_OK;
}

static rd_err draw_background(struct rd_scene *scene, struct rd_surface *surface,
                              const struct rd_pulse *pulse)
{
    for (int32_t y = 0; y < surface->height; y++) {
        if (y % BAND_ROWS == 0) {
            RD_TRY(rd_pulse_check(pulse));
        }
        background_row(scene, y, surface->rgb + (size_t)y * (size_t)surface->width * 3);
    }
    return RD_OK;
}

rd_err rd_scene_draw(struct rd_scene *scene, uint32_t turn, struct rd_surface *surface,
                     const struct rd_pulse *pulse)
{
    const struct rd_plan *plan = scene->plan;
    struct rd_moment moment = {.turn = turn, .horizon = scene->horizon};
    find_vortices(scene, &moment);
    RD_TRY(rd_field_fill(&scene->field, plan, &moment, pulse));
    RD_TRY(draw_background(scene, surface, pulse));
    if (plan->stars) {
        rd_land_stars(scene, turn, surface);
    }
    bool ground = scene->horizon == 0;
    for (size_t i = 0; i < plan->subjects_count; i++) {
        if (!ground && plan->subjects[i].kind > RD_SHAPE_MOUNTAIN + (plan->water ? 1 : 0)) {
            RD_TRY(draw_ground(scene, turn, surface, pulse));
            ground = true;
        }
        RD_TRY(draw_subject(scene, &plan->subjects[i], turn, surface, pulse));
    }
    if (!ground) {
        RD_TRY(draw_ground(scene, turn, surface, pulse));
    }
    RD_TRY(rd_pulse_check(pulse));
    rd_scene_grade(plan, surface);
    return rd_pulse_check(pulse);
}

void rd_scene_grade(const struct rd_plan *plan, struct rd_surface *surface)
{
    size_t count = (size_t)surface->width * (size_t)surface->height;
    int32_t tint[3] = {plan->tint.r, plan->tint.g, plan->tint.b};
    int32_t keep = 256 - plan->tint_amount;
    for (size_t i = 0; i < count; i++) {
        uint8_t *p = surface->rgb + i * 3;
        int32_t luma = (p[0] * 77 + p[1] * 150 + p[2] * 29) >> 8;
        int32_t lit = ((luma - 118) * plan->contrast >> 8) + 118 + plan->brightness;
        for (int k = 0; k < 3; k++) {
            int32_t c = lit + ((p[k] - luma) * plan->saturation >> 8);
            /* a tint keeps light and dark: it moves the colour as far as it is from grey */
            c = (c * keep + (c + tint[k] - 128) * plan->tint_amount) >> 8;
            p[k] = (uint8_t)(c < 0 ? 0 : c > 255 ? 255 : c);
        }
    }
}
