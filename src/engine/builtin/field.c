/* SPDX-License-Identifier: Apache-2.0
 *
 * The structures. See field.h. Each is a function from a point to a value; all see the same point
 * twice: as it is, and moved by two octaves of noise (domain warping, which is what turns plain
 * noise into something that looks as if it had flowed). A table says which function is which
 * structure. */
#include "engine/builtin/field.h"

#include <stdlib.h>

#include "base/mem.h"

enum { LAYER_WARP_X = 11, LAYER_WARP_Y = 23, LAYER_BODY = 37, LAYER_SHADE = 53, LAYER_FLOW = 71 };

struct at {
    const struct rd_plan *plan;
    int32_t x, y;   /* Q16, 65536 = the short side, (0, 0) in the middle */
    int32_t qx, qy; /* the same, warped */
    int32_t wx, wy; /* the warp itself, Q15 */
    uint32_t seed;
    uint32_t phase; /* what rolls with the loop: whole turns of it */
    uint32_t draw;  /* 32 bits that choose this picture's direction, number of arms ... */
};

static uint32_t layer(const struct at *at, uint32_t n)
{
    return at->seed + n * 0x9e3779b9u;
}

/* Q15 to 0..65535 with a gain in per cent. */
static int32_t span(int32_t q15, int32_t gain)
{
    return rd_noise_clamp(32768 + (int64_t)q15 * gain / 100, 0, 65535);
}

static int32_t plasma(const struct at *at)
{
    int32_t n = rd_noise_fbm(layer(at, LAYER_BODY), at->qx * 2, at->qy * 2, 4);
    int32_t m = rd_noise_fbm(layer(at, LAYER_BODY + 1), at->qx * 3 / 2 + n, at->qy * 3 / 2 - n, 3);
    /* folds: contour lines of the slow field, drawn as waves of the palette */
    int32_t fold = rd_noise_sin((uint32_t)(m * 4 + n) + at->phase);
    return rd_noise_clamp(32768 + n * 2 / 5 + m * 3 / 5 + fold * 3 / 8, 0, 65535);
}

static int32_t clouds(const struct at *at)
{
    int32_t n = rd_noise_fbm(layer(at, LAYER_BODY), at->qx * 2, at->qy * 7 / 2, 5);
    int32_t body = rd_noise_smooth(rd_noise_clamp(26000 + (int64_t)n * 4, 0, 65536));
    int32_t sky = rd_noise_clamp(21000 + at->y / 4, 6000, 40000);
    return sky + (int32_t)((int64_t)(65000 - sky) * body / 65536);
}

static int32_t waves(const struct at *at)
{
    /* rows that come nearer: each crest is a sine whose phase bends with slow noise */
    int32_t swell = rd_noise_gradient(layer(at, LAYER_BODY), at->x * 2, at->y * 3);
    uint32_t phase = (uint32_t)(at->y * 7 + at->wx * 3 + swell * 2);
    int32_t crest = rd_noise_sin(phase - at->phase);
    int32_t foam = rd_noise_fbm(layer(at, LAYER_BODY + 1), at->qx * 5, at->qy * 9, 3);
    int32_t lifted = crest > 0 ? (int32_t)((int64_t)crest * crest / 32768) : crest / 2;
    return span(lifted + foam / 3 + at->wy / 4, 100);
}

static int32_t marble(const struct at *at)
{
    int32_t n = rd_noise_fbm(layer(at, LAYER_BODY), at->qx * 2, at->qy * 2, 5);
    int32_t vein = rd_noise_sin((uint32_t)(at->x + at->y / 2 + n * 4) + at->phase);
    vein = vein < 0 ? -vein : vein;
    int32_t body = rd_noise_fbm(layer(at, LAYER_BODY + 1), at->qx * 3, at->qy * 3, 3);
    /* thin dark veins in a light body: the square root of the sine is narrow near zero */
    int32_t width = (int32_t)rd_noise_isqrt((uint64_t)vein << 17);
    return rd_noise_clamp(width - 4000 + body / 2, 0, 65535);
}

static int32_t distance(int32_t x, int32_t y)
{
    return (int32_t)rd_noise_isqrt((uint64_t)((int64_t)x * x + (int64_t)y * y));
}

static int32_t rings(const struct at *at)
{
    int32_t d = distance(at->x + at->wx / 8, at->y + at->wy / 8);
    int32_t wave = rd_noise_sin((uint32_t)(d * 8) - at->phase);
    return span(wave + at->wx / 4, 86);
}

static int32_t stripes(const struct at *at)
{
    uint32_t turn = at->draw & 0x7fff;
    int32_t across =
        (int32_t)(((int64_t)at->x * rd_noise_cos(turn) + (int64_t)at->y * rd_noise_sin(turn)) /
                  32768);
    int32_t wave = rd_noise_sin((uint32_t)(across * 6 + at->wx / 2) - at->phase);
    return span(rd_noise_clamp((int64_t)wave * 3, -30000, 30000) + at->wy / 5, 96);
}

static int32_t checker(const struct at *at)
{
    uint32_t turn = (at->draw & 0x1fff) - 0x1000;
    int64_t c = rd_noise_cos(turn);
    int64_t s = rd_noise_sin(turn);
    int32_t u = (int32_t)((at->x * c + at->y * s) / 32768) + at->wx / 40;
    int32_t v = (int32_t)((at->y * c - at->x * s) / 32768) + at->wy / 40;
    int64_t a =
        rd_noise_clamp((int64_t)rd_noise_sin((uint32_t)(u * 4) + at->phase) * 9, -32768, 32767);
    int64_t b = rd_noise_clamp((int64_t)rd_noise_sin((uint32_t)(v * 4)) * 9, -32768, 32767);
    return span((int32_t)(a * b / 32768) + at->wx / 6, 80);
}

static int32_t spiral(const struct at *at)
{
    int32_t x = at->x + at->wx / 7;
    int32_t y = at->y + at->wy / 7;
    int32_t d = distance(x, y);
    uint32_t arms = 2 + (at->draw & 1);
    uint32_t turn = rd_noise_atan2(y, x) * arms;
    /* a logarithmic arm, near enough: the root winds fast at the core and slowly outside */
    int32_t wind = (int32_t)rd_noise_isqrt((uint64_t)d << 18) * 2;
    int32_t arm = rd_noise_sin(turn + (uint32_t)wind - at->phase);
    int32_t core = rd_noise_clamp(52000 - (int64_t)d * 3 / 2, -20000, 52000);
    return rd_noise_clamp(16000 + arm / 2 + core * 3 / 4 + at->wx / 4, 0, 65535);
}

static int32_t rays(const struct at *at)
{
    uint32_t count = 9 + (at->draw & 7);
    int32_t y = at->y - 6000;
    uint32_t turn = rd_noise_atan2(y, at->x) * count;
    int32_t wave = rd_noise_sin(turn + (uint32_t)(at->wx / 2) + at->phase);
    int32_t d = distance(at->x, y);
    int32_t hard = rd_noise_clamp((int64_t)wave * 2, -26000, 26000);
    return rd_noise_clamp(46000 + hard / 2 - d * 5 / 12 + at->wy / 5, 0, 65535);
}

/* Cells of random points: each its own colour, dark between them, as leaded glass. */
static int32_t mosaic(const struct at *at)
{
    int32_t x = at->x * 6 + at->wx;
    int32_t y = at->y * 6 + at->wy;
    int64_t near = INT64_MAX;
    int64_t next = INT64_MAX;
    uint32_t id = 0;
    for (int32_t j = -1; j <= 1; j++) {
        for (int32_t i = -1; i <= 1; i++) {
            int32_t cx = (x >> 16) + i;
            int32_t cy = (y >> 16) + j;
            uint32_t h = rd_noise_hash(layer(at, LAYER_BODY), cx, cy, 5);
            int64_t dx = (int64_t)cx * 65536 + (int32_t)(h & 0xffff) - x;
            int64_t dy = (int64_t)cy * 65536 + (int32_t)(h >> 16) - y;
            int64_t d = dx * dx + dy * dy;
            if (d < near) {
                next = near;
                near = d;
                id = h;
            } else if (d < next) {
                next = d;
            }
        }
    }
    int32_t gap = (int32_t)rd_noise_isqrt((uint64_t)next) - (int32_t)rd_noise_isqrt((uint64_t)near);
    int32_t glass = 12000 + (int32_t)((id * 0x9e3779b1u) >> 16) * 4 / 5;
    return (int32_t)((int64_t)glass * rd_noise_clamp((int64_t)gap * 9 - 12000, 0, 65536) / 65536);
}

static int32_t aurora(const struct at *at)
{
    /* curtains: noise that is fine across and very long down, hung on a wavy lower edge */
    int32_t edge = rd_noise_fbm(layer(at, LAYER_BODY), at->x * 3 / 2 + at->wx / 2, 7000, 3);
    int32_t above = 6000 + edge * 3 / 4 - at->y;
    int32_t fold = rd_noise_fbm(layer(at, LAYER_BODY + 1), at->x * 7 + at->wx * 2, at->y / 2, 3);
    int32_t glow = above > 0 ? rd_noise_clamp(60000 - (int64_t)above * 5 / 4, 0, 60000)
                             : rd_noise_clamp(60000 + (int64_t)above * 9, 0, 60000);
    return rd_noise_clamp(3000 + (int64_t)glow * (40000 + fold * 3 / 2) / 60000, 0, 65535);
}

static int32_t flames(const struct at *at)
{
    int32_t n = rd_noise_fbm(layer(at, LAYER_BODY), at->qx * 4, at->y * 3 / 2 + at->wy / 2, 4);
    int32_t tongue = rd_noise_fbm(layer(at, LAYER_BODY + 1), at->x * 3 + at->wx, at->y / 2, 2);
    int32_t heat = at->y + 22000 + tongue;
    int32_t lick = n < 0 ? -n : n;
    return rd_noise_clamp(heat * 3 / 4 + 16000 - lick * 3 / 2, 0, 65535);
}

static int32_t mist(const struct at *at)
{
    int32_t n = rd_noise_fbm(layer(at, LAYER_BODY), at->qx, at->qy * 3, 4);
    return rd_noise_clamp(36000 + n / 2 + at->y / 5, 0, 65535);
}

static int32_t plain(const struct at *at)
{
    uint32_t turn = at->draw & 0xffff;
    int32_t along =
        (int32_t)(((int64_t)at->x * rd_noise_cos(turn) + (int64_t)at->y * rd_noise_sin(turn)) /
                  32768);
    return rd_noise_clamp(32000 + along / 3 + at->wx / 8, 0, 65535);
}

typedef int32_t structure_fn(const struct at *at);
static structure_fn *const structures[RD_STRUCTURE_COUNT_] = {
    [RD_STRUCTURE_PLASMA] = plasma,   [RD_STRUCTURE_CLOUDS] = clouds,
    [RD_STRUCTURE_WAVES] = waves,     [RD_STRUCTURE_MARBLE] = marble,
    [RD_STRUCTURE_RINGS] = rings,     [RD_STRUCTURE_STRIPES] = stripes,
    [RD_STRUCTURE_CHECKER] = checker, [RD_STRUCTURE_SPIRAL] = spiral,
    [RD_STRUCTURE_RAYS] = rays,       [RD_STRUCTURE_MOSAIC] = mosaic,
    [RD_STRUCTURE_AURORA] = aurora,   [RD_STRUCTURE_FLAMES] = flames,
    [RD_STRUCTURE_MIST] = mist,       [RD_STRUCTURE_PLAIN] = plain,
};

rd_err rd_field_new(int32_t width, int32_t height, int32_t nodes_max, struct rd_field *ret)
{
    int32_t side = width > height ? width : height;
    int32_t cell = (side + nodes_max - 1) / nodes_max;
    struct rd_field field = {
        .width = width,
        .height = height,
        .cell = cell,
        .columns = (width + cell - 1) / cell + 1,
        .rows = (height + cell - 1) / cell + 1,
    };
    size_t count = (size_t)field.columns * (size_t)field.rows;
    field.nodes = rd_mem_alloc_array(count, sizeof *field.nodes);
    field.potential = rd_mem_alloc_array(count, sizeof *field.potential);
    if (!field.nodes || !field.potential) {
        rd_field_done(&field);
        return RD_ERR_NO_MEMORY;
    }
    *ret = field;
    return RD_OK;
}

void rd_field_done(struct rd_field *field)
{
    rd_mem_free(field->nodes);
    rd_mem_free(field->potential);
    field->nodes = NULL;
    field->potential = NULL;
}

struct filling {
    const struct rd_plan *plan;
    const struct rd_moment *moment;
    int32_t side;
    int32_t drift_x, drift_y; /* of the noise, Q16 */
    struct at at;             /* what all nodes share */
};

/* The stream function: flow runs along its contours. Round things get a hill of their own. */
static int32_t potential_at(const struct filling *f, const struct at *at, int32_t px, int32_t py,
                            int32_t value)
{
    int32_t slow =
        rd_noise_gradient(layer(at, LAYER_FLOW), at->x * 2 + f->drift_x, at->y * 2 + f->drift_y);
    int32_t sum = slow * 3 / 4 + at->wx / 3 + (value - 32768) / 3;
    if (f->moment->horizon > 0) { /* wind over land blows along it */
        sum = sum / 2 + at->y / 2;
    }
    for (size_t i = 0; i < f->moment->vortices_count; i++) {
        const struct rd_vortex *v = &f->moment->vortices[i];
        int64_t dx = px - v->x;
        int64_t dy = py - v->y;
        int64_t reach2 = (int64_t)v->reach * v->reach;
        int64_t d2 = dx * dx + dy * dy;
        if (d2 < reach2) {
            int64_t near = 65536 - d2 * 65536 / reach2;
            sum += (int32_t)(near * near / 65536 * 5 / 4);
        }
    }
    return sum;
}

static void fill_node(const struct filling *f, struct rd_field *field, int32_t column, int32_t row)
{
    int32_t px = column * field->cell;
    int32_t py = row * field->cell;
    struct at at = f->at;
    at.x = (int32_t)(((int64_t)px * 2 - field->width) * 32768 / f->side);
    at.y = (int32_t)(((int64_t)py * 2 - field->height) * 32768 / f->side);
    int32_t nx = at.x * 3 / 2 + f->drift_x;
    int32_t ny = at.y * 3 / 2 + f->drift_y;
    at.wx = rd_noise_fbm(layer(&at, LAYER_WARP_X), nx, ny, 3);
    at.wy = rd_noise_fbm(layer(&at, LAYER_WARP_Y), nx + 9000, ny - f->drift_x, 3);
    at.qx = at.x + at.wx * f->plan->swirl / 256 + f->drift_x / 3;
    at.qy = at.y + at.wy * f->plan->swirl / 256 + f->drift_y / 3;
    int32_t value = structures[f->plan->structure](&at);
    int32_t shade = rd_noise_fbm(layer(&at, LAYER_SHADE), at.qx * 4, at.qy * 4, 2);
    if (f->moment->horizon > 0) {
        /* a sky: dark above, light at the horizon, its structure on top of that */
        int32_t height = rd_noise_clamp((int64_t)py * 65536 / f->moment->horizon, 0, 65536);
        int32_t sky = 7000 + (int32_t)((int64_t)height * height / 65536 * 46000 / 65536);
        value = rd_noise_clamp(sky + (value - 32768) * 9 / 16, 0, 65535);
    }
    size_t at_node = (size_t)(row * field->columns + column);
    field->nodes[at_node].value = (uint16_t)value;
    field->nodes[at_node].shade = (int16_t)shade;
    field->potential[at_node] = potential_at(f, &at, px, py, value);
}

/* Stretches the values so that every colour of the palette gets its share of the picture: the value
 * becomes, for the most part, its own rank. */
static void equalise(struct rd_field *field)
{
    enum { BINS = 256 };
    uint32_t below[BINS + 1] = {0};
    size_t count = (size_t)field->columns * (size_t)field->rows;
    for (size_t i = 0; i < count; i++) {
        below[(field->nodes[i].value >> 8) + 1]++;
    }
    for (size_t i = 0; i < BINS; i++) {
        below[i + 1] += below[i];
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t bin = field->nodes[i].value >> 8;
        uint64_t in_bin = field->nodes[i].value & 255;
        uint64_t rank =
            ((uint64_t)below[bin] * 256 + (below[bin + 1] - below[bin]) * in_bin) * 256 / count;
        uint32_t value = (uint32_t)((rank > 65535 ? 65535 : rank) * 3 + field->nodes[i].value) / 4;
        field->nodes[i].value = (uint16_t)value;
    }
}

static void fill_flow(struct rd_field *field, int32_t column, int32_t row)
{
    int32_t left = column > 0 ? column - 1 : 0;
    int32_t right = column + 1 < field->columns ? column + 1 : column;
    int32_t up = row > 0 ? row - 1 : 0;
    int32_t down = row + 1 < field->rows ? row + 1 : row;
    const int32_t *p = field->potential;
    int64_t gx = p[row * field->columns + right] - p[row * field->columns + left];
    int64_t gy = p[down * field->columns + column] - p[up * field->columns + column];
    struct rd_node *node = &field->nodes[row * field->columns + column];
    int64_t length = rd_noise_isqrt((uint64_t)(gx * gx + gy * gy));
    node->flow_x = (int16_t)(length > 0 ? -gy * 16384 / length : 16384);
    node->flow_y = (int16_t)(length > 0 ? gx * 16384 / length : 0);
}

rd_err rd_field_fill(struct rd_field *field, const struct rd_plan *plan,
                     const struct rd_moment *moment, const struct rd_pulse *pulse)
{
    uint32_t turn = moment->turn;
    int32_t travel = (int32_t)((int64_t)plan->motion * (64 + plan->shift / 8) / 700);
    int32_t cycles = (plan->motion + 16384) / 32768; /* 0, 1 or 2 whole ones */
    struct filling f = {
        .plan = plan,
        .side = field->width < field->height ? field->width : field->height,
        .drift_x = (int32_t)((int64_t)travel * (rd_noise_cos(turn) - 32767) / 32768),
        .drift_y = (int32_t)((int64_t)travel * rd_noise_sin(turn) / 32768),
        .moment = moment,
        .at = {.plan = plan,
               .seed = plan->seed,
               .phase = turn * (uint32_t)cycles,
               .draw = rd_noise_hash(plan->seed, 0, 0, 0xd4a)},
    };
    for (int32_t row = 0; row < field->rows; row++) {
        if (row % 8 == 0) {
            RD_TRY(rd_pulse_check(pulse));
        }
        for (int32_t column = 0; column < field->columns; column++) {
            fill_node(&f, field, column, row);
        }
    }
    if (plan->structure == RD_STRUCTURE_PLASMA && moment->horizon == 0) {
        equalise(field);
    }
    for (int32_t row = 0; row < field->rows; row++) {
        for (int32_t column = 0; column < field->columns; column++) {
            fill_flow(field, column, row);
        }
    }
    return RD_OK;
}
