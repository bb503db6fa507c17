/* SPDX-License-Identifier: Apache-2.0
 *
 * RGB frames to an MP4 file in memory, through FFmpeg's libavcodec and libavformat (5.1 to 7). This
 * file alone is the module render-mp4.so, which mp4.c loads with the first video.
 *
 * Encoders are a table, tried in order; the first that opens is used. Each runs on one thread with
 * FFmpeg's bit-exact flags and, for x264, with code paths that do not depend on the processor's
 * features: the same frames give the same bytes. No B frames, so decoding order is showing order
 * and the first frame has time 0, without an edit list.
 *
 * RGB becomes YUV 4:2:0 here, not in libswscale: BT.709, limited range, 16-bit fixed point; one
 * chroma sample is the mean of its four pixels (declared as centred). So the encoder's input is the
 * same on every machine, and one library less is needed. Because one chroma sample serves two by
 * two pixels, odd sizes are refused.
 *
 * The file grows in a rd_buf behind a seekable AVIOContext. "faststart" puts moov first by moving
 * the finished mdat up: to do so the muxer opens its own output a second time for reading, which
 * io_open answers with another AVIOContext on the same memory. No date is written (bit-exact
 * muxing).
 *
 * FFmpeg logs to stderr by itself; that is switched off for the process once, as library code here
 * never logs. One rd_mp4 is for one thread at a time; different ones are independent. */
#include "media/codec.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/log.h>
#include <libavutil/opt.h>

#include "base/limits.h"
#include "base/mem.h"

enum {
    FPS_MAX = 120,      /* faster than any screen's content */
    FRAMES_MAX = 36000, /* 5 minutes at 120, 20 at 30; the contract's longest is seconds */
    IO_BUFFER = 65536,  /* what the muxer gathers before it calls us */
    KEY_FRAME_S = 2,    /* seconds between key frames: how far a player seeks */
    Y_BITS = 16
};
#define MP4_BYTES_MAX RD_MIB(512) /* the file is built in memory */

struct rd_mp4 {
    AVCodecContext *encoder;
    AVFormatContext *muxer;
    AVStream *stream; /* the muxer's */
    AVIOContext *io;
    AVFrame *frame;
    AVPacket *packet;
    unsigned frames;
    bool finished;
    bool lost; /* a seek failed, so the file cannot be right */
    struct rd_buf file;
    size_t at;      /* where the muxer writes */
    size_t read_at; /* where its second, reading view is */
};

/* --- the file in memory --- */

#if LIBAVFORMAT_VERSION_MAJOR >= 61
typedef const uint8_t io_byte;
#else
typedef uint8_t io_byte;
#endif

static int io_write(void *opaque, io_byte *from, int len)
{
    struct rd_mp4 *mp4 = opaque;
    struct rd_buf *file = &mp4->file;
    size_t count = len > 0 ? (size_t)len : 0;
    /* Moving a small mdat up behind a larger moov writes beyond the end first; the gap is filled
     * later. */
    while (file->len < mp4->at && file->err == RD_OK) {
        rd_buf_char(file, '\0');
    }
    if (file->err == RD_OK) {
        size_t over = file->len - mp4->at < count ? file->len - mp4->at : count;
        if (over > 0) {
            memcpy(file->data + mp4->at, from, over);
        }
        rd_buf_append(file, from + over, count - over);
    }
    if (file->err != RD_OK) {
        return file->err == RD_ERR_NO_MEMORY ? AVERROR(ENOMEM) : AVERROR(ENOSPC);
    }
    mp4->at += count;
    return len;
}

static int io_read(void *opaque, uint8_t *to, int len)
{
    struct rd_mp4 *mp4 = opaque;
    size_t rest = mp4->read_at < mp4->file.len ? mp4->file.len - mp4->read_at : 0;
    size_t count = len <= 0 ? 0 : (size_t)len < rest ? (size_t)len : rest;
    if (count == 0) {
        return AVERROR_EOF;
    }
    memcpy(to, mp4->file.data + mp4->read_at, count);
    mp4->read_at += count;
    return (int)count;
}

static int64_t seek(struct rd_mp4 *mp4, size_t *at, int64_t offset, int whence)
{
    int64_t len = (int64_t)mp4->file.len;
    switch (whence & ~AVSEEK_FORCE) {
    case AVSEEK_SIZE:
        return len;
    case SEEK_SET:
        break;
    case SEEK_CUR:
        offset += (int64_t)*at;
        break;
    case SEEK_END:
        offset += len;
        break;
    default:
        offset = -1;
    }
    if (offset < 0 || offset > (int64_t)MP4_BYTES_MAX) {
        mp4->lost = true; /* the muxer does not look at what a seek answers */
        return AVERROR(EINVAL);
    }
    *at = (size_t)offset;
    return offset;
}

static int64_t io_seek(void *opaque, int64_t offset, int whence)
{
    struct rd_mp4 *mp4 = opaque;
    return seek(mp4, &mp4->at, offset, whence);
}

static int64_t io_read_seek(void *opaque, int64_t offset, int whence)
{
    struct rd_mp4 *mp4 = opaque;
    return seek(mp4, &mp4->read_at, offset, whence);
}

static AVIOContext *io_new(struct rd_mp4 *mp4, bool writing)
{
    unsigned char *buffer = av_malloc(IO_BUFFER);
    AVIOContext *io = NULL;
    if (buffer != NULL) {
        io = writing ? avio_alloc_context(buffer, IO_BUFFER, 1, mp4, NULL, io_write, io_seek)
                     : avio_alloc_context(buffer, IO_BUFFER, 0, mp4, io_read, NULL, io_read_seek);
    }
    if (io == NULL) {
        av_free(buffer);
    }
    return io;
}

static void io_free(AVIOContext **io)
{
    if (*io != NULL) {
        av_freep(&(*io)->buffer);
        avio_context_free(io);
    }
}

/* The muxer's second view of its own output; it opens nothing else. */
static int io_open_again(AVFormatContext *muxer, AVIOContext **ret, const char *url, int flags,
                         AVDictionary **options)
{
    struct rd_mp4 *mp4 = muxer->opaque;
    (void)url;
    (void)options;
    if (flags != AVIO_FLAG_READ) {
        return AVERROR(EACCES);
    }
    mp4->read_at = 0;
    AVIOContext *io = io_new(mp4, false);
    if (io == NULL) {
        return AVERROR(ENOMEM);
    }
    *ret = io;
    return 0;
}

static int io_close_again(AVFormatContext *muxer, AVIOContext *io)
{
    (void)muxer;
    io_free(&io);
    return 0;
}

/* --- the encoder --- */

static const struct {
    const char *name;
    const char *options;           /* FFmpeg's "key=value:key=value" for the encoder itself */
    int constant_quality;          /* 0, or the fixed quantizer of 1 (best) to 31 */
    unsigned bits_per_1000_pixels; /* 0, or the rate for an encoder that knows no quality */
    bool takes_all; /* every size and rate that is let in here; then only memory can stop it */
} encoders[] = {
    {"libx264", "preset=superfast,crf=20,x264-params=cpu-independent=1", 0, 0, true},
    {"libopenh264", "", 0, 150, false}, /* some systems have one that never opens */
    {"mpeg4", "", 3, 0, false},         /* sides up to 8191 */
};

static void quiet(void)
{
    av_log_set_level(AV_LOG_QUIET);
}

/* x264 reports a failed allocation as AVERROR_EXTERNAL while it encodes, and nothing else; others
 * as plain -1, or not at all when they can go on with a box or a lookahead less, which makes
 * another file. In these cases errno, cleared when FFmpeg was entered, tells: only memory sets it
 * to ENOMEM. */
static bool is_no_memory(int result)
{
    return result == AVERROR(ENOMEM) || result == AVERROR_EXTERNAL || errno == ENOMEM;
}

static rd_err from_av(const struct rd_mp4 *mp4, int result)
{
    if (result >= 0 && errno != ENOMEM) {
        return RD_OK;
    }
    RD_TRY(rd_buf_err(&mp4->file));
    return is_no_memory(result) ? RD_ERR_NO_MEMORY : RD_ERR_INTERNAL;
}

static void describe(AVCodecContext *encoder, const unsigned size_fps[3])
{
    encoder->width = (int)size_fps[0];
    encoder->height = (int)size_fps[1];
    encoder->time_base = (AVRational){1, (int)size_fps[2]};
    encoder->framerate = (AVRational){(int)size_fps[2], 1};
    encoder->sample_aspect_ratio = (AVRational){1, 1};
    encoder->pix_fmt = AV_PIX_FMT_YUV420P;
    encoder->color_range = AVCOL_RANGE_MPEG;
    encoder->colorspace = AVCOL_SPC_BT709;
    encoder->color_primaries = AVCOL_PRI_BT709;
    encoder->color_trc = AVCOL_TRC_BT709;
    encoder->chroma_sample_location = AVCHROMA_LOC_CENTER;
    encoder->gop_size = (int)size_fps[2] * KEY_FRAME_S;
    encoder->max_b_frames = 0;
    encoder->thread_count = 1;
    encoder->flags |= AV_CODEC_FLAG_BITEXACT | AV_CODEC_FLAG_GLOBAL_HEADER;
}

/* Opens row `index` of the table; a negative AVERROR when this FFmpeg cannot. */
static int open_encoder(struct rd_mp4 *mp4, size_t index, const unsigned size_fps[3])
{
    const AVCodec *codec = avcodec_find_encoder_by_name(encoders[index].name);
    if (codec == NULL) {
        return AVERROR_ENCODER_NOT_FOUND;
    }
    AVCodecContext *encoder = avcodec_alloc_context3(codec);
    if (encoder == NULL) {
        return AVERROR(ENOMEM);
    }
    describe(encoder, size_fps);
    if (encoders[index].constant_quality != 0) {
        encoder->flags |= AV_CODEC_FLAG_QSCALE;
        encoder->global_quality = FF_QP2LAMBDA * encoders[index].constant_quality;
    }
    encoder->bit_rate = (int64_t)size_fps[0] * size_fps[1] * size_fps[2] *
                        encoders[index].bits_per_1000_pixels / 1000;
    AVDictionary *options = NULL;
    int result = av_dict_parse_string(&options, encoders[index].options, "=", ",", 0);
    if (result >= 0) {
        result = avcodec_open2(encoder, codec, &options);
    }
    av_dict_free(&options);
    if (result < 0) {
        avcodec_free_context(&encoder);
        return result;
    }
    mp4->encoder = encoder;
    return 0;
}

static rd_err find_encoder(struct rd_mp4 *mp4, const char *only, const unsigned size_fps[3],
                           struct rd_why *why)
{
    for (size_t i = 0; i < sizeof encoders / sizeof encoders[0]; i++) {
        if (only != NULL && strcmp(only, encoders[i].name) != 0) {
            continue;
        }
        int result = open_encoder(mp4, i, size_fps);
        if (result >= 0) {
            return RD_OK;
        }
        /* Going on to the next would make another file of the same frames, for a passing reason. */
        if (is_no_memory(result) ||
            (encoders[i].takes_all && result != AVERROR_ENCODER_NOT_FOUND)) {
            return rd_why_set(why, RD_ERR_NO_MEMORY, "no memory for the video encoder");
        }
    }
    return rd_why_set(why, RD_ERR_BACKEND_FAILED,
                      "FFmpeg's libavcodec opens none of libx264, libopenh264, mpeg4 for %u x %u "
                      "pixels at %u frames a second",
                      size_fps[0], size_fps[1], size_fps[2]);
}

static int start_muxer(struct rd_mp4 *mp4)
{
    int result = avformat_alloc_output_context2(&mp4->muxer, NULL, "mp4", "");
    if (result < 0) {
        return result;
    }
    mp4->io = io_new(mp4, true);
    mp4->stream = mp4->io == NULL ? NULL : avformat_new_stream(mp4->muxer, NULL);
    if (mp4->stream == NULL) {
        return AVERROR(ENOMEM);
    }
    AVFormatContext *muxer = mp4->muxer;
    muxer->pb = mp4->io;
    muxer->opaque = mp4;
    muxer->io_open = io_open_again;
    muxer->io_close2 = io_close_again;
    muxer->flags |= AVFMT_FLAG_CUSTOM_IO | AVFMT_FLAG_BITEXACT;
    mp4->stream->time_base = mp4->encoder->time_base;
    mp4->stream->avg_frame_rate = mp4->encoder->framerate;
    result = avcodec_parameters_from_context(mp4->stream->codecpar, mp4->encoder);
    if (result < 0) {
        return result;
    }
    AVDictionary *options = NULL;
    result = av_dict_set(&options, "movflags", "faststart", 0);
    if (result >= 0) {
        result = avformat_write_header(muxer, &options);
    }
    av_dict_free(&options);
    return result;
}

static int new_frame(struct rd_mp4 *mp4)
{
    mp4->packet = av_packet_alloc();
    mp4->frame = av_frame_alloc();
    if (mp4->packet == NULL || mp4->frame == NULL) {
        return AVERROR(ENOMEM);
    }
    AVFrame *frame = mp4->frame;
    frame->format = mp4->encoder->pix_fmt;
    frame->width = mp4->encoder->width;
    frame->height = mp4->encoder->height;
    frame->color_range = mp4->encoder->color_range;
    frame->colorspace = mp4->encoder->colorspace;
    frame->color_primaries = mp4->encoder->color_primaries;
    frame->color_trc = mp4->encoder->color_trc;
    frame->chroma_location = mp4->encoder->chroma_sample_location;
    return av_frame_get_buffer(frame, 0);
}

/* --- the functions of struct rd_mp4_ops --- */

static void mp4_free(struct rd_mp4 *mp4);

static rd_err new_with(const char *encoder, const unsigned size_fps[3], struct rd_mp4 **ret,
                       struct rd_why *why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, quiet);
    if (size_fps[0] % 2 != 0 || size_fps[1] % 2 != 0) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST,
                          "a video of %u x %u pixels; both must be even", size_fps[0], size_fps[1]);
    }
    if (size_fps[2] < 1 || size_fps[2] > FPS_MAX) {
        return rd_why_set(why, RD_ERR_INVALID_REQUEST, "a video of %u frames a second; 1 to %d",
                          size_fps[2], FPS_MAX);
    }
    struct rd_mp4 *mp4 = rd_mem_alloc(sizeof *mp4);
    if (mp4 == NULL) {
        return rd_why_set(why, RD_ERR_NO_MEMORY, "no memory for the video");
    }
    rd_buf_init(&mp4->file, MP4_BYTES_MAX);
    errno = 0;
    rd_err err = find_encoder(mp4, encoder, size_fps, why);
    if (err == RD_OK) {
        int result = new_frame(mp4);
        err = from_av(mp4, result < 0 ? result : start_muxer(mp4));
        if (err != RD_OK) {
            (void)rd_why_set(why, err, "the MP4 muxer cannot start");
        }
    }
    if (err != RD_OK) {
        mp4_free(mp4);
        return err;
    }
    *ret = mp4;
    return RD_OK;
}

static const char *encoder_name(const struct rd_mp4 *mp4)
{
    return mp4->encoder->codec->name;
}

static uint8_t luma(const uint8_t *p)
{
    /* 219/255 of .2126, .7152, .0722; they add up so that white is exactly 235 */
    uint32_t sum = 11966u * p[0] + 40254u * p[1] + 4064u * p[2];
    return (uint8_t)((sum + (16u << Y_BITS) + (1u << (Y_BITS - 1))) >> Y_BITS);
}

/* 224/255 of the colour difference, of the sum of four pixels. Each triple adds up to 0, so that
 * gray is exactly 128. The sum stays positive: 128 outweighs the most negative difference. */
static uint8_t chroma(const int32_t sum[3], const int32_t factor[3])
{
    enum { BITS = Y_BITS + 2 };
    int32_t value = factor[0] * sum[0] + factor[1] * sum[1] + factor[2] * sum[2];
    return (uint8_t)((value + (128 << BITS) + (1 << (BITS - 1))) >> BITS);
}

static void fill_frame(AVFrame *frame, const struct rd_image *image)
{
    static const int32_t to_u[3] = {-6596, -22188, 28784};
    static const int32_t to_v[3] = {28784, -26145, -2639};
    size_t stride = (size_t)image->width * 3;
    for (unsigned y = 0; y < image->height; y += 2) {
        const uint8_t *top = image->pixels + y * stride;
        const uint8_t *low = top + stride;
        uint8_t *y_top = frame->data[0] + (ptrdiff_t)y * frame->linesize[0];
        uint8_t *y_low = y_top + frame->linesize[0];
        uint8_t *u = frame->data[1] + (ptrdiff_t)(y / 2) * frame->linesize[1];
        uint8_t *v = frame->data[2] + (ptrdiff_t)(y / 2) * frame->linesize[2];
        for (unsigned x = 0; x < image->width; x += 2, top += 6, low += 6) {
            y_top[x] = luma(top);
            y_top[x + 1] = luma(top + 3);
            y_low[x] = luma(low);
            y_low[x + 1] = luma(low + 3);
            int32_t sum[3];
            for (int c = 0; c < 3; c++) {
                sum[c] = top[c] + top[c + 3] + low[c] + low[c + 3];
            }
            u[x / 2] = chroma(sum, to_u);
            v[x / 2] = chroma(sum, to_v);
        }
    }
}

/* Takes what the encoder has ready to the muxer. `frame` NULL: the last ones. */
static int encode(struct rd_mp4 *mp4, const AVFrame *frame)
{
    int result = avcodec_send_frame(mp4->encoder, frame);
    while (result >= 0) {
        result = avcodec_receive_packet(mp4->encoder, mp4->packet);
        if (result == AVERROR(EAGAIN) || result == AVERROR_EOF) {
            return 0;
        }
        if (result < 0) {
            break;
        }
        mp4->packet->duration = 1;
        mp4->packet->stream_index = mp4->stream->index;
        av_packet_rescale_ts(mp4->packet, mp4->encoder->time_base, mp4->stream->time_base);
        result = av_write_frame(mp4->muxer, mp4->packet);
        av_packet_unref(mp4->packet);
    }
    return result;
}

static rd_err add_frame(struct rd_mp4 *mp4, const struct rd_image *frame)
{
    if (mp4->finished || frame->channels != 3 || frame->width != (unsigned)mp4->encoder->width ||
        frame->height != (unsigned)mp4->encoder->height) {
        return RD_ERR_INVALID_REQUEST;
    }
    if (mp4->frames == FRAMES_MAX) {
        return RD_ERR_TOO_LARGE;
    }
    errno = 0;
    int result = av_frame_make_writable(mp4->frame); /* the encoder may still hold the last one */
    if (result >= 0) {
        fill_frame(mp4->frame, frame);
        mp4->frame->pts = mp4->frames;
        result = encode(mp4, mp4->frame);
    }
    RD_TRY(from_av(mp4, result));
    mp4->frames++;
    return RD_OK;
}

static rd_err finish(struct rd_mp4 *mp4, struct rd_buf *out)
{
    if (mp4->finished || mp4->frames == 0) {
        return RD_ERR_INVALID_REQUEST;
    }
    mp4->finished = true;
    errno = 0;
    int result = encode(mp4, NULL);
    if (result >= 0) {
        result = av_write_trailer(mp4->muxer);
    }
    RD_TRY(from_av(mp4, result));
    RD_TRY(from_av(mp4, mp4->io->error));
    if (mp4->lost) {
        return RD_ERR_INTERNAL;
    }
    rd_buf_append(out, mp4->file.data, mp4->file.len);
    return rd_buf_err(out);
}

static void mp4_free(struct rd_mp4 *mp4)
{
    if (mp4 == NULL) {
        return;
    }
    avcodec_free_context(&mp4->encoder);
    avformat_free_context(mp4->muxer);
    io_free(&mp4->io);
    av_frame_free(&mp4->frame);
    av_packet_free(&mp4->packet);
    rd_buf_done(&mp4->file);
    rd_mem_free(mp4);
}

__attribute__((visibility("default"))) const struct rd_mp4_ops rd_mp4_ffmpeg_ops = {
    new_with, encoder_name, add_frame, finish, mp4_free,
};
