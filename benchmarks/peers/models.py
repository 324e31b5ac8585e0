#!/usr/bin/env python3
# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0
"""Runs whole parts of LTX-2.3 in diffusers and transformers and in the example by turns, on the same weights.

    python3 -m venv venv && venv/bin/pip install torch numpy diffusers transformers safetensors
    venv/bin/python benchmarks/peers/models.py build/release/bin [--rounds 3] [--filter block] [--models FOLDER]
        [--official FOLDER [--timesteps token]]

The folder of programs has ltx2 and ltxmem_benchmarks. For every row `ltx2 synth` writes the model from its description
(benchmarks/ltx2/models, the block's from the reference data), in the type of the row; PyTorch loads it. What PyTorch
makes of some inputs becomes a case file, which `ltx2 check` has to agree with, or the run ends. Then a turn times ours (a
benchmark of benchmarks/ltx2, which reads the same file), PyTorch and the limit of the machine; neither side's time has
reading or converting of weights in it, and both come after a first run that is not counted. As in compare.py one thread
is measured in CPU time, more in wall time, and ratios are taken within a turn: median (lowest-highest).

Memory is over the weights, with the result. Ours: the planned bytes, which are what was used. PyTorch's: how far a call
raises the resident set, while the allocator keeps nothing that was freed. The models take 7 GB in the folder for
temporary files, or stay in --models FOLDER for the next run.

With --official FOLDER, a checkout of https://github.com/Lightricks/LTX-2, modules of the official code take turns too,
in all rows but the text encoder's; they have to agree with diffusers first. They want einops, and torchaudio (pip
install --no-deps). The block gets one timestep for all tokens, as diffusers does; official pipelines have one a token
(--timesteps token), and the model embeds every one: work that the blocks of a whole model share.
"""

import argparse
import functools
import importlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import torch

from turns import TYPES, available_limits, best, limit_of, measure, measure_limit, peak_bytes, ratios, some_values, time_calls

try:
    from diffusers.loaders.single_file_utils import convert_ltx2_transformer_to_diffusers
    from diffusers.models.autoencoders.autoencoder_kl_ltx2 import LTX2VideoDecoder3d
    from diffusers.models.autoencoders.autoencoder_kl_ltx2_audio import LTX2AudioDecoder
    from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
    from diffusers.pipelines.ltx2.vocoder import LTX2VocoderWithBWE
    from safetensors.torch import load_file, save_file
    from transformers import Gemma3TextConfig, Gemma3TextModel
except ImportError as error:
    sys.exit(f"{error}: expected diffusers 0.42 or later, transformers 5 and safetensors (see --help)")

SOURCE = pathlib.Path(__file__).resolve().parents[2]
DESCRIPTIONS = (SOURCE / "benchmarks/ltx2/models", SOURCE / "examples/ltx2/tests/golden/configs")
TOLERANCES = {"f32": 1e-3, "bf16": 5e-2}  # of the largest value
FRAMES_PER_SECOND = 24.0


def inputs_of(shape, seed):
    """Values that bf16 holds as well, so that both types begin alike."""
    return some_values(torch.Size(shape).numel(), seed).bfloat16().float().view(shape)


def weights_below(path, prefix, rename):
    """Tensors of a file below a prefix, by what rename makes of the rest of their names."""
    return {
        rename(name.removeprefix(prefix)): tensor.clone()
        for name, tensor in load_file(path).items()
        if name.startswith(prefix)
    }


def filled(module, weights):
    module.load_state_dict(weights, assign=True)
    return module.eval()


@functools.lru_cache(maxsize=1)
def transformer(path, dtype):
    config = description("real23")["config"]["transformer"]
    with torch.device("meta"):
        module = LTX2VideoTransformer3DModel(
            in_channels=config["in_channels"],
            out_channels=config["out_channels"],
            num_attention_heads=config["num_attention_heads"],
            attention_head_dim=config["attention_head_dim"],
            cross_attention_dim=config["cross_attention_dim"],
            gated_attn=config["apply_gated_attention"],
            cross_attn_mod=config["cross_attention_adaln"],
            audio_in_channels=config["audio_in_channels"],
            audio_out_channels=config["audio_out_channels"],
            audio_num_attention_heads=config["audio_num_attention_heads"],
            audio_attention_head_dim=config["audio_attention_head_dim"],
            audio_cross_attention_dim=config["audio_cross_attention_dim"],
            audio_gated_attn=config["apply_gated_attention"],
            audio_cross_attn_mod=config["cross_attention_adaln"],
            num_layers=config["num_layers"],
            rope_double_precision=config["frequencies_precision"] == "float64",
            rope_type=config["rope_type"],
            use_prompt_embeddings=False,
        )
    weights = convert_ltx2_transformer_to_diffusers(weights_below(path, "model.diffusion_model.", str))
    return filled(module, {name.replace("prompt_adaln_single", "prompt_adaln"): w for name, w in weights.items()})


@functools.lru_cache(maxsize=1)
def text_encoder(path, dtype):
    config = dict(description("text_encoder")["config"]["text_config"])
    scaled = {"rope_theta": config.pop("rope_theta"), **config.pop("rope_scaling")}
    local = {"rope_theta": config.pop("rope_local_base_freq"), "rope_type": "default"}
    config["rope_parameters"] = {"full_attention": scaled, "sliding_attention": local}
    module = Gemma3TextModel(Gemma3TextConfig(**config))
    return filled(module, weights_below(path / "model.safetensors", "language_model.model.", str))


@functools.lru_cache(maxsize=1)
def video_decoder(path, dtype):
    config = description("video_vae")["config"]["vae"]
    blocks = config["decoder_blocks"][::-1]  # in order of execution
    kinds = {"compress_all": "spatiotemporal", "compress_time": "temporal", "compress_space": "spatial"}
    factors = [block["multiplier"] for _, block in blocks[1::2]]
    widths = [config["decoder_base_channels"]]
    for factor in factors[::-1]:
        widths.append(widths[-1] * factor)
    with torch.device("meta"):
        module = LTX2VideoDecoder3d(
            in_channels=config["latent_channels"],
            block_out_channels=tuple(widths[1:]),
            spatio_temporal_scaling=(True,) * len(factors),
            layers_per_block=tuple(block["num_layers"] for _, block in blocks[::-2]),
            upsample_type=tuple(kinds[kind] for kind, _ in blocks[1::2]),
            upsample_residual=tuple(block.get("residual", False) for _, block in blocks[-2::-2]),
            upsample_factor=tuple(factors[::-1]),
            inject_noise=(False,) * (len(factors) + 1),
            patch_size=config["patch_size"],
            is_causal=config["causal_decoder"],
            spatial_padding_mode=config["spatial_padding_mode"],
        )

    def rename(name):
        def block(match):
            index = int(match[1])
            if index == 0:
                return "mid_block."
            return f"up_blocks.{(index - 1) // 2}." + ("upsamplers.0." if index % 2 else "")

        return re.sub(r"up_blocks\.(\d+)\.", block, name).replace("res_blocks", "resnets")

    return filled(module, weights_below(path, "vae.decoder.", rename))


@functools.lru_cache(maxsize=1)
def audio_decoder(path, dtype):
    config = description("audio")["config"]["audio_vae"]["model"]["params"]["ddconfig"]
    with torch.device("meta"):
        module = LTX2AudioDecoder(
            base_channels=config["ch"],
            output_channels=config["out_ch"],
            num_res_blocks=config["num_res_blocks"],
            in_channels=config["in_channels"],
            resolution=config["resolution"],
            latent_channels=config["z_channels"],
            ch_mult=tuple(config["ch_mult"]),
            norm_type=config["norm_type"],
            causality_axis=config["causality_axis"],
            mel_bins=config["mel_bins"],
        )
    return filled(module, weights_below(path, "audio_vae.decoder.", str))


@functools.lru_cache(maxsize=1)
def vocoder(path, dtype):
    config = description("audio")["config"]["vocoder"]
    of_generator = {
        "hidden_channels": "upsample_initial_channel",
        "upsample_kernel_sizes": "upsample_kernel_sizes",
        "upsample_factors": "upsample_rates",
        "resnet_kernel_sizes": "resblock_kernel_sizes",
        "resnet_dilations": "resblock_dilation_sizes",
        "act_fn": "activation",
        "final_bias": "use_bias_at_final",
    }
    main, wider = config["vocoder"], config["bwe"]
    module = LTX2VocoderWithBWE(
        **{name: main[key] for name, key in of_generator.items()},
        **{"bwe_" + name: wider[key] for name, key in of_generator.items()},
        final_act_fn="clamp",  # as in the official code
        filter_length=wider["n_fft"],
        window_length=wider["n_fft"],
        hop_length=wider["hop_length"],
        num_mel_channels=wider["num_mels"],
        input_sampling_rate=wider["input_sampling_rate"],
        output_sampling_rate=wider["output_sampling_rate"],
    )
    names = {
        "ups": "upsamplers",
        "resblocks": "resnets",
        "conv_pre": "conv_in",
        "conv_post": "conv_out",
        "act_post": "act_out",
    }

    def rename(name):
        parts = [names.get(part, part) for part in name.split(".")]
        return ".".join(parts).replace("downsample.lowpass.", "downsample.")

    return filled(module, weights_below(path, "vocoder.", rename))


class Block:
    """The transformer with one block: embeddings of the step, the block, the output heads."""

    stage, model = "transformer", "real23"
    tile = 1024
    timesteps = "sample"  # what the official code has one for

    def __init__(self, tokens, dtype, schemes=("E1",)):
        self.dtype = dtype
        self.work = f"block of 2.3, {tokens} video + 126 audio tokens, 1024 of text"
        self.benchmarks = {
            scheme: f"block/{dtype}/{scheme}/tokens:{tokens}/tile:{self.tile}/threads:{{}}" for scheme in schemes
        }
        self.options = [
            f"--{name}={value}"
            for name, value in (("query-tile", self.tile), ("key-tile", self.tile), ("ffn-chunk", self.tile))
        ]
        self.grid = (tokens // 256, 16, 16)

    def load(self, path):
        self.module = transformer(path, self.dtype)
        config = description(self.model)["config"]["transformer"]
        tokens = self.grid[0] * self.grid[1] * self.grid[2]
        sigma = 0.7
        self.inputs = {
            "video.latent": inputs_of((1, tokens, config["in_channels"]), 1),
            "video.context": inputs_of((1, 1024, config["cross_attention_dim"]), 2),
            "video.positions": self.module.rope.prepare_video_coords(1, *self.grid, "cpu", fps=FRAMES_PER_SECOND),
            "audio.latent": inputs_of((1, 126, config["audio_in_channels"]), 3),
            "audio.context": inputs_of((1, 1024, config["audio_cross_attention_dim"]), 4),
            "audio.positions": self.module.audio_rope.prepare_audio_coords(1, 126, "cpu"),
        }
        for modality, count in (("video", tokens), ("audio", 126)):
            self.inputs[f"{modality}.timesteps"] = torch.full((1, count), sigma)
            self.inputs[f"{modality}.sigma"] = torch.full((1,), sigma)
        typed = {
            name: value.to(TYPES[self.dtype]) if name.endswith((".latent", ".context")) else value
            for name, value in self.inputs.items()
        }
        step = torch.full((1,), sigma) * config["timestep_scale_multiplier"]
        self.arguments = {
            "hidden_states": typed["video.latent"],
            "audio_hidden_states": typed["audio.latent"],
            "encoder_hidden_states": typed["video.context"],
            "audio_encoder_hidden_states": typed["audio.context"],
            "timestep": step,
            "sigma": step,
            "video_coords": typed["video.positions"],
            "audio_coords": typed["audio.positions"],
            "use_cross_timestep": True,
            "return_dict": False,
        }
        if self.timesteps == "sample":
            typed |= {name: value[:, :1] for name, value in typed.items() if name.endswith(".timesteps")}
        self.typed = typed

    def __call__(self):
        return self.module(**self.arguments)

    def official(self, code, path):
        module = code.transformer(path)
        video, audio = (
            code.Modality(**{name.removeprefix(kind): v for name, v in self.typed.items() if name.startswith(kind)})
            for kind in ("video.", "audio.")
        )
        return lambda: module(video, audio, perturbations=None)

    def outputs(self, result):
        return dict(zip(("video.velocity", "audio.velocity"), result))


class VideoDecode:
    stage, model, options = "video_decode", "video_vae", []

    def __init__(self, dtype):
        self.dtype = dtype
        self.work = "video decoder of 2.3, an eighth as wide, 33 frames of 512 x 512"
        self.benchmarks = {"": f"video_decode/{dtype}/frames:1/tile:0/threads:{{}}"}

    def load(self, path):
        self.module = video_decoder(path, self.dtype)
        self.inputs = {"latent": inputs_of((1, self.module.conv_in.in_channels, 5, 16, 16), 1)}
        statistics = weights_below(path, "vae.per_channel_statistics.", str)
        mean, deviation = (statistics[name].float().view(1, -1, 1, 1, 1) for name in ("mean-of-means", "std-of-means"))
        self.latent = (self.inputs["latent"] * deviation + mean).to(TYPES[self.dtype])

    def __call__(self):
        return self.module(self.latent)

    def official(self, code, path):
        module, latent = code.video_decoder(path), self.inputs["latent"].to(TYPES[self.dtype])
        return lambda: module(latent)

    def outputs(self, result):
        return {"frames": ((result[0].float() + 1) / 2).clamp(0, 1).permute(1, 2, 3, 0)}


class TextEncoder:
    stage, model, options = "text", "text_encoder", []
    case_options = {"task": "gemma"}
    # With made-up weights bf16 loses more from layer to layer: PyTorch's bf16 is 0.16 from its own fp32, ours 0.13.
    tolerances = {"f32": 1e-3, "bf16": 0.25}

    def __init__(self, dtype):
        self.dtype = dtype
        self.work = "text encoder: six layers of Gemma 3, 1536 wide, 1024 tokens"
        self.benchmarks = {"": f"text_encoder/{dtype}/threads:{{}}"}

    def load(self, path):
        self.module = text_encoder(path, self.dtype)
        self.inputs = {"ids": torch.arange(2, 1026, dtype=torch.int32)}
        self.ids = self.inputs["ids"].long()[None]

    def __call__(self):
        return self.module(input_ids=self.ids, output_hidden_states=True, use_cache=False).hidden_states

    def outputs(self, result):
        return {"hidden": torch.cat(result)}


class AudioDecode:
    stage, model, options, dtype = "audio_decode", "audio", [], "f32"
    work = "audio decoder, two seconds"
    benchmarks = {"": "audio_decode/f32/threads:{}"}

    def load(self, path):
        self.module = audio_decoder(path, self.dtype)
        self.inputs = {"latent": inputs_of((1, self.module.latent_channels, 51, 16), 1)}
        statistics = weights_below(path, "audio_vae.per_channel_statistics.", str)
        mean, deviation = (statistics[name].view(1, -1, 1, 16) for name in ("mean-of-means", "std-of-means"))
        self.latent = self.inputs["latent"] * deviation + mean

    def __call__(self):
        return self.module(self.latent)

    def official(self, code, path):
        module = code.audio_decoder(path)
        return lambda: module(self.inputs["latent"])

    def outputs(self, result):
        return {"mel": result}


class Vocode:
    stage, model, options, dtype = "vocode", "audio", [], "f32"
    work = "vocoder of 2.3, half a second"
    benchmarks = {"": "vocode/f32/threads:{}"}

    def load(self, path):
        self.module = vocoder(path, self.dtype)
        self.inputs = {"mel": inputs_of((1, 2, 49, 64), 1)}

    def __call__(self):
        return self.module(self.inputs["mel"])

    def official(self, code, path):
        module = code.vocoder(path)
        return lambda: module(self.inputs["mel"])

    def outputs(self, result):
        return {"waveform": result}


@functools.lru_cache
def description(name):
    found = next(folder / f"{name}.json" for folder in DESCRIPTIONS if (folder / f"{name}.json").exists())
    return json.loads(found.read_text())


def synthesise(program, name, dtype, folder):
    """NAME_TYPE below the folder, where the benchmarks look for it; made unless it is there."""
    made = description(name) | {"dtype": {"f32": "F32", "bf16": "BF16"}[dtype]}
    target = folder / f"{name}_{dtype}"
    file = target.with_suffix(".safetensors")
    if made["kind"] == "gemma":
        target.mkdir(exist_ok=True)
        (target / "config.json").write_text(json.dumps(made["config"]))
        file = target / "model.safetensors"
    if not file.exists():
        described = folder / f"{name}_{dtype}.json"
        described.write_text(json.dumps(made))
        subprocess.run([program, "synth", described, file], check=True, stdout=subprocess.DEVNULL)
    return target if made["kind"] == "gemma" else file


def check(row, result, program, folder):
    """Hands PyTorch's result to `ltx2 check`, in every scheme, and ends the run where the two differ."""
    tensors = {f"in.{name}": value.contiguous() for name, value in row.inputs.items()}
    tensors |= {f"out.{name}": value.float().contiguous() for name, value in row.outputs(result).items()}
    case = {
        "stage": row.stage,
        "name": f"{row.model}_{row.dtype}",
        "model": f"{row.model}_{row.dtype}",
        "options": getattr(row, "case_options", {}),
        "tolerance": {"fp32": getattr(row, "tolerances", TOLERANCES)[row.dtype]},
    }
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".safetensors") as file:
        save_file(tensors, file.name, metadata={"case": json.dumps(case)})
        for scheme in row.benchmarks:
            command = [program, "check", file.name, "--models", folder, "--dtype", row.dtype, "--threads", "2"]
            command += row.options + (["--scheme", scheme] if scheme else [])
            ran = subprocess.run(command, capture_output=True, text=True)
            print((ran.stdout + ran.stderr).strip(), file=sys.stderr)
            if ran.returncode != 0:
                sys.exit(f"{row.work}, {row.dtype} {scheme}: ltx2 does not agree with PyTorch")


def import_official(folder):
    """official.py, over a checkout."""
    source = folder / "packages/ltx-core/src"
    if not source.is_dir():
        sys.exit(f"{folder}: no packages/ltx-core/src, expected a checkout of https://github.com/Lightricks/LTX-2")
    sys.path.append(str(source))
    try:
        return importlib.import_module("official")
    except ImportError as error:
        sys.exit(f"{error}: expected einops and torchaudio for the official code (see --help)")


def check_official(row, result, expected):
    """Ends the run where the official code's result differs from diffusers'."""
    tolerance = getattr(row, "tolerances", TOLERANCES)[row.dtype]
    expected = row.outputs(expected)
    for name, value in row.outputs(result).items():
        difference = ((value - expected[name]).abs().max() / expected[name].abs().max()).item()
        compared = f"{row.work}, {row.dtype}: {name} of the official code is {difference:.1e} from diffusers'"
        if not difference <= tolerance:  # nor if it is not a number
            sys.exit(f"{compared}, expected at most {tolerance} of the largest value")
        print(compared, file=sys.stderr)


def mebibytes(count):
    return f"{count / 2**20:.0f} MiB"


def run_row(row, arguments, folder, available, code):
    program, binary = arguments.programs / "ltx2", arguments.programs / "ltxmem_benchmarks"
    path = synthesise(program, row.model, row.dtype, folder)
    row.load(path)
    expected = row()
    check(row, expected, program, folder)
    peers = {"PyTorch": row}
    if code and hasattr(row, "official"):
        peers["official"] = row.official(code, path)
        check_official(row, peers["official"](), expected)
    del expected
    theirs_bytes = {peer: peak_bytes(call) for peer, call in peers.items()}
    environment = dict(os.environ, LTXMEM_BENCHMARK_MODELS=str(folder))
    limit = limit_of("GFLOP/s", row.dtype, available)
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        ours = {scheme: [] for scheme in row.benchmarks}
        theirs = {"PyTorch": [], "official": []}
        ours_bytes, limits = {}, []
        for _ in range(arguments.rounds):
            for scheme, name in row.benchmarks.items():
                name = name.format(threads) + "/iterations:1/process_time/real_time"
                rate, run = measure(binary, name, threads, environment)
                ours[scheme].append(rate)
                ours_bytes[scheme] = run["peak_bytes"] + run["pinned_bytes"]
                operations = run["flop/s"] * run["real_time"] / 1e12  # real_time is in ms
            for peer, call in peers.items():
                theirs[peer].append(operations / time_calls(call, threads, repetitions=1)[0])
            if limit:
                limits.append(measure_limit(binary, limit, threads))
        first = next(iter(ours))
        for scheme, rates in ours.items():
            work = f"{row.work}, {scheme}" if scheme else row.work
            if scheme != first:
                work += f", {ratios(rates, ours[first])} of {first}"
            line = (
                f"| {work} | {row.dtype} | {threads} | {best(rates, 'GFLOP/s')} | {best(theirs['PyTorch'], 'GFLOP/s')} "
                f"| {ratios(rates, theirs['PyTorch'])} | {best(limits, 'GFLOP/s')} | {ratios(rates, limits)} "
                f"| {mebibytes(ours_bytes[scheme])} | {mebibytes(theirs_bytes['PyTorch'])} "
                f"| {ours_bytes[scheme] / theirs_bytes['PyTorch']:.2f} |"
            )
            if code:
                line += (
                    f" {best(theirs['official'], 'GFLOP/s')} | {ratios(rates, theirs['official'])} "
                    f"| {mebibytes(theirs_bytes['official']) if 'official' in peers else ''} |"
                )
            print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=pathlib.Path, help="folder with ltx2 and ltxmem_benchmarks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--filter", default="", help="part of 'WORK, TYPE' of the rows to run")
    parser.add_argument("--models", type=pathlib.Path, help="folder that keeps the models for the next run")
    parser.add_argument("--official", type=pathlib.Path, help="checkout of https://github.com/Lightricks/LTX-2")
    timesteps = "what the official block has one timestep for (default: sample)"
    parser.add_argument("--timesteps", choices=("sample", "token"), default="sample", help=timesteps)
    arguments = parser.parse_args()
    for name in ("ltx2", "ltxmem_benchmarks"):
        if not (arguments.programs / name).is_file():
            sys.exit(f"{arguments.programs}: no {name}, expected a folder with ltx2 and ltxmem_benchmarks")
    available = available_limits(arguments.programs / "ltxmem_benchmarks")
    code = import_official(arguments.official) if arguments.official else None
    Block.timesteps = arguments.timesteps

    rows = [
        VideoDecode("f32"),
        VideoDecode("bf16"),
        TextEncoder("f32"),
        TextEncoder("bf16"),
        AudioDecode(),
        Vocode(),
        Block(1024, "bf16"),
        Block(2048, "bf16", ("E1", "E3")),
        Block(4096, "bf16"),
        Block(1024, "f32"),
        Block(2048, "f32"),
    ]
    print(f"PyTorch {torch.__version__}; {arguments.rounds} turns; best of both, ratios: median (lowest-highest)\n")
    print(
        "| work | type | threads | ltxmem | PyTorch | ltxmem / PyTorch | limit | ltxmem / limit "
        "| memory | PyTorch's memory | ratio |" + " official | ltxmem / official | official's memory |" * bool(code)
    )
    print("|---" * (14 if code else 11) + "|")
    with tempfile.TemporaryDirectory() as scratch, torch.inference_mode():
        folder = (arguments.models or pathlib.Path(scratch)).resolve()
        folder.mkdir(exist_ok=True)
        for row in rows:
            if arguments.filter in f"{row.work}, {row.dtype}":
                run_row(row, arguments, folder, available, code)
                row.module = None


if __name__ == "__main__":
    main()
