# SPDX-License-Identifier: Apache-2.0
"""A real latent diffusion pipeline (diffusers) with tiny random weights, made from its configuration: nothing is
downloaded. What it paints is noise, but the same noise for the same prompt, seed, steps and guidance; its tensors,
shapes, scheduler steps and times of a step's callback are those of the large ones. Behind Triton's Python backend
(`Diffusion`) it answers step by step and stops between two steps when it is cancelled."""
import json
import pathlib
import tempfile
import threading
import time

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

TOKENS, WIDTH, WEIGHTS_SEED = 77, 32, 1234


class Cancelled(Exception):
    """Raised between two steps."""


def tokenizer():
    """Every byte is a token, and there are no merges; transformers' own table of how bytes are written."""
    from transformers.models.clip.tokenization_clip import bytes_to_unicode
    characters = list(bytes_to_unicode().values())
    words = [*characters, *(c + "</w>" for c in characters), "<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        vocabulary, merges = pathlib.Path(folder) / "vocab.json", pathlib.Path(folder) / "merges.txt"
        vocabulary.write_text(json.dumps({word: index for index, word in enumerate(words)}))
        merges.write_text("#version: 0.2\n")
        return CLIPTokenizer(str(vocabulary), str(merges), model_max_length=TOKENS), len(words)


def pipeline():
    torch.set_num_threads(1)
    torch.manual_seed(WEIGHTS_SEED)
    words, count = tokenizer()
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=count, hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=TOKENS, bos_token_id=count - 2, eos_token_id=count - 1, pad_token_id=count - 1))
    unet = UNet2DConditionModel(
        sample_size=64, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(WIDTH, 2 * WIDTH),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=8, norm_num_groups=8)
    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, layers_per_block=1, block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=4)
    made = StableDiffusionPipeline(vae=vae, text_encoder=text, tokenizer=words, unet=unet,
                                   scheduler=DDIMScheduler(clip_sample=False, steps_offset=1), safety_checker=None,
                                   feature_extractor=None, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


def generate(pipe, prompt, negative, width, height, seed, steps, guidance, step_done):
    """float32 [1, 3, height, width], 0 to 1. step_done(step) is called behind each of the steps."""
    def callback(_pipe, step, _timestep, kwargs):
        step_done(step + 1)
        return kwargs
    return pipe(prompt, negative_prompt=negative, width=width, height=height, num_inference_steps=steps,
                guidance_scale=guidance, generator=torch.Generator().manual_seed(seed), output_type="pt",
                callback_on_step_end=callback).images.numpy().astype(np.float32)


class Diffusion:
    """For Triton's Python backend, decoupled. One picture at a time, as on a GPU."""

    def initialize(self, _args):
        import triton_python_backend_utils
        self.pb, self.pipe, self.lock = triton_python_backend_utils, pipeline(), threading.Lock()

    def execute(self, requests):
        for request in requests:
            fields = {name: self.take(request, name) for name in
                      ("prompt", "negative_prompt", "width", "height", "seed", "steps", "guidance")}
            threading.Thread(target=self.run, args=(fields, request.request_id(), request.get_response_sender())).start()

    def take(self, request, name):
        tensor = self.pb.get_input_tensor_by_name(request, name)
        if tensor is None:
            return None
        value = tensor.as_numpy().reshape(-1)[0]
        return value.decode() if isinstance(value, bytes) else value.item()

    def run(self, fields, name, sender):
        final = self.pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL

        def step_done(step):
            if sender.is_cancelled():
                raise Cancelled
            progress = self.pb.Tensor("progress", np.array([step / fields["steps"]], np.float32))
            sender.send(self.pb.InferenceResponse(output_tensors=[progress]))
        try:
            with self.lock, torch.no_grad():
                began = time.thread_time()
                images = generate(self.pipe, fields["prompt"], fields["negative_prompt"], fields["width"],
                                  fields["height"], fields["seed"], fields["steps"], fields["guidance"], step_done)
                seconds = self.pb.Tensor("device_seconds", np.array([time.thread_time() - began], np.float64))
            sender.send(self.pb.InferenceResponse(output_tensors=[
                self.pb.Tensor("pixels", np.ascontiguousarray(images)), seconds]), flags=final)
        except Cancelled:
            self.pb.Logger.log_info(f"diffusers cancelled {name}")
            self.fail(sender, "cancelled", self.pb.TritonError.CANCELLED)
        except Exception as error:  # whatever the pipeline says is the answer
            self.fail(sender, f"{type(error).__name__}: {error}", self.pb.TritonError.INTERNAL)

    def fail(self, sender, text, code):
        sender.send(self.pb.InferenceResponse(error=self.pb.TritonError(text, code)),
                    flags=self.pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
