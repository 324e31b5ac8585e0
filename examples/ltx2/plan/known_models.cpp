// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#include "plan/known_models.hpp"

#include <string>

namespace ltx2 {
namespace {

/// LTX-2.3, as its checkpoints describe themselves.
constexpr const char* model_2_3 = R"({
  "kind": "checkpoint", "dtype": "BF16", "model_version": "2.3.0",
  "gemma": {"hidden_size": 3840, "num_hidden_layers": 48},
  "config": {
    "transformer": {
      "activation_fn": "gelu-approximate", "attention_bias": true, "norm_elementwise_affine": false,
      "qk_norm": "rms_norm", "standardization_norm": "rms_norm", "positional_embedding_type": "rope",
      "use_audio_video_cross_attention": true, "av_cross_ada_norm": true, "share_ff": false,
      "double_self_attention": false, "only_cross_attention": false, "use_middle_indices_grid": true,
      "causal_temporal_positioning": true, "num_attention_heads": 32, "attention_head_dim": 128, "num_layers": 48,
      "in_channels": 128, "out_channels": 128, "cross_attention_dim": 4096, "caption_channels": 3840,
      "audio_num_attention_heads": 32, "audio_attention_head_dim": 64, "audio_in_channels": 128,
      "audio_out_channels": 128, "audio_cross_attention_dim": 2048, "norm_eps": 1e-6,
      "positional_embedding_theta": 10000.0, "positional_embedding_max_pos": [20, 2048, 2048],
      "audio_positional_embedding_max_pos": [20], "timestep_scale_multiplier": 1000,
      "av_ca_timestep_scale_multiplier": 1000.0, "rope_type": "split", "frequencies_precision": "float64",
      "apply_gated_attention": true, "cross_attention_adaln": true, "use_embeddings_connector": true,
      "connector_num_attention_heads": 32, "connector_attention_head_dim": 128, "connector_num_layers": 8,
      "connector_positional_embedding_max_pos": [4096], "connector_num_learnable_registers": 128,
      "connector_norm_output": true, "connector_apply_gated_attention": true,
      "audio_connector_num_attention_heads": 32, "audio_connector_attention_head_dim": 64,
      "caption_proj_before_connector": true, "caption_projection_first_linear": false,
      "caption_projection_second_linear": false, "caption_proj_input_norm": false,
      "text_encoder_norm_type": "per_token_rms"},
    "vae": {
      "dims": 3, "in_channels": 3, "out_channels": 3, "latent_channels": 128, "patch_size": 4,
      "norm_layer": "pixel_norm", "latent_log_var": "uniform", "decoder_base_channels": 128, "causal_decoder": false,
      "timestep_conditioning": false, "encoder_spatial_padding_mode": "zeros", "spatial_padding_mode": "zeros",
      "encoder_blocks": [
        ["res_x", {"num_layers": 4}], ["compress_space_res", {"multiplier": 2}],
        ["res_x", {"num_layers": 6}], ["compress_time_res", {"multiplier": 2}],
        ["res_x", {"num_layers": 4}], ["compress_all_res", {"multiplier": 2}],
        ["res_x", {"num_layers": 2}], ["compress_all_res", {"multiplier": 1}],
        ["res_x", {"num_layers": 2}]],
      "decoder_blocks": [
        ["res_x", {"num_layers": 4}], ["compress_space", {"multiplier": 2}],
        ["res_x", {"num_layers": 6}], ["compress_time", {"multiplier": 2}],
        ["res_x", {"num_layers": 4}], ["compress_all", {"multiplier": 1}],
        ["res_x", {"num_layers": 2}], ["compress_all", {"multiplier": 2}],
        ["res_x", {"num_layers": 2}]]},
    "audio_vae": {
      "model": {"params": {"sampling_rate": 16000, "ddconfig": {
        "ch": 128, "ch_mult": [1, 2, 4], "num_res_blocks": 2, "z_channels": 8, "in_channels": 2, "out_ch": 2,
        "resolution": 256, "mel_bins": 64, "norm_type": "pixel", "causality_axis": "height", "double_z": true,
        "attn_resolutions": [], "mid_block_add_attention": false, "resamp_with_conv": true}}},
      "preprocessing": {"stft": {"filter_length": 1024, "hop_length": 160, "causal": true},
                        "mel": {"n_mel_channels": 64}}},
    "vocoder": {
      "vocoder": {
        "resblock": "AMP1", "activation": "snakebeta", "stereo": true, "use_bias_at_final": false,
        "use_tanh_at_final": false, "upsample_initial_channel": 1536, "upsample_rates": [5, 2, 2, 2, 2, 2],
        "upsample_kernel_sizes": [11, 4, 4, 4, 4, 4], "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]]},
      "bwe": {
        "resblock": "AMP1", "activation": "snakebeta", "stereo": true, "use_bias_at_final": false,
        "use_tanh_at_final": false, "upsample_initial_channel": 512, "upsample_rates": [6, 5, 2, 2, 2],
        "upsample_kernel_sizes": [12, 11, 4, 4, 4], "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]], "n_fft": 512, "num_mels": 64,
        "hop_length": 80, "input_sampling_rate": 16000, "output_sampling_rate": 48000}}}})";

/// What LTX-2.0 has otherwise; null: not.
constexpr const char* changes_for_2_0 = R"({
  "model_version": "2.0.0",
  "config": {
    "transformer": {
      "apply_gated_attention": null, "cross_attention_adaln": null, "connector_apply_gated_attention": null,
      "caption_proj_before_connector": null, "caption_projection_first_linear": null,
      "caption_projection_second_linear": null, "caption_proj_input_norm": null, "text_encoder_norm_type": null,
      "connector_num_attention_heads": 30, "connector_num_layers": 2, "audio_connector_num_attention_heads": 30,
      "audio_connector_attention_head_dim": 128},
    "vae": {
      "spatial_padding_mode": null,
      "encoder_blocks": [
        ["res_x", {"num_layers": 4}], ["compress_space_res", {"multiplier": 2}],
        ["res_x", {"num_layers": 6}], ["compress_time_res", {"multiplier": 2}],
        ["res_x", {"num_layers": 6}], ["compress_all_res", {"multiplier": 2}],
        ["res_x", {"num_layers": 2}], ["compress_all_res", {"multiplier": 2}],
        ["res_x", {"num_layers": 2}]],
      "decoder_blocks": [
        ["res_x", {"num_layers": 5}], ["compress_all", {"residual": true, "multiplier": 2}],
        ["res_x", {"num_layers": 5}], ["compress_all", {"residual": true, "multiplier": 2}],
        ["res_x", {"num_layers": 5}], ["compress_all", {"residual": true, "multiplier": 2}],
        ["res_x", {"num_layers": 5}]]},
    "vocoder": {
      "vocoder": null, "bwe": null,
      "resblock": "1", "stereo": true, "upsample_initial_channel": 1024, "upsample_rates": [6, 5, 2, 2, 2],
      "upsample_kernel_sizes": [16, 15, 8, 4, 4], "resblock_kernel_sizes": [3, 7, 11],
      "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]], "output_sampling_rate": 24000}}})";

constexpr const char* gemma_12b = R"({
  "kind": "gemma", "dtype": "BF16",
  "config": {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": {
    "model_type": "gemma3_text", "hidden_size": 3840, "intermediate_size": 15360, "num_hidden_layers": 48,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256, "vocab_size": 262208,
    "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-6, "hidden_activation": "gelu_pytorch_tanh",
    "sliding_window": 1024, "sliding_window_pattern": 6, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0,
    "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}}})";

constexpr const char* upsampler_x2 = R"({
  "kind": "upsampler", "dtype": "BF16",
  "config": {"in_channels": 128, "mid_channels": 1024, "num_blocks_per_stage": 4, "dims": 3, "spatial_upsample": true,
             "temporal_upsample": false, "spatial_scale": 2.0, "rational_resampler": false}})";

}  // namespace

ModelDescriptions known_models(ModelVersion version) {
  const std::string name = "LTX-" + std::string(model_version_name(version));
  Json model = Json::parse(model_2_3);
  Json upsampler = Json::parse(upsampler_x2);
  if (version == ModelVersion::v2_0) {
    model.merge_patch(Json::parse(changes_for_2_0));
    upsampler["config"]["rational_resampler"] = true;
  }
  return {parse_description(model, name), parse_description(Json::parse(gemma_12b), "Gemma 3 12B"),
          parse_description(upsampler, name + " upsampler")};
}

}  // namespace ltx2
