# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0
"""Modules of the official LTX-2 code, made from a checkpoint as its pipelines make them.

To be imported once packages/ltx-core/src of a checkout is on the path. The modules take their shape from the file's own
description and map its weights, so a second peer costs no copy of them. The video decoder is the plain one: the
memory-efficient one that the pipelines switch to saves memory on a GPU; on a CPU it takes longer and no less memory.
"""

import functools

import torch
from ltx_core.loader.single_gpu_model_builder import SingleGPUModelBuilder
from ltx_core.model.audio_vae import (
    AUDIO_VAE_DECODER_COMFY_KEYS_FILTER,
    VOCODER_COMFY_KEYS_FILTER,
    AudioDecoderConfigurator,
    VocoderConfigurator,
)
from ltx_core.model.transformer import LTXV_MODEL_COMFY_RENAMING_MAP, LTXModelConfigurator, Modality
from ltx_core.model.video_vae import VAE_DECODER_COMFY_KEYS_FILTER, VideoDecoderConfigurator

__all__ = ["Modality", "audio_decoder", "transformer", "video_decoder", "vocoder"]


@functools.lru_cache(maxsize=1)
def _built(configurator, names, path):
    return SingleGPUModelBuilder(configurator, str(path), names).build(torch.device("cpu")).eval()


transformer = functools.partial(_built, LTXModelConfigurator, LTXV_MODEL_COMFY_RENAMING_MAP)
video_decoder = functools.partial(_built, VideoDecoderConfigurator, VAE_DECODER_COMFY_KEYS_FILTER)
audio_decoder = functools.partial(_built, AudioDecoderConfigurator, AUDIO_VAE_DECODER_COMFY_KEYS_FILTER)
vocoder = functools.partial(_built, VocoderConfigurator, VOCODER_COMFY_KEYS_FILTER)
