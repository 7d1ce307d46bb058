"""The cases of reports_before_after.py, a shell line each, and what in their reports depends on the clock."""

from __future__ import annotations

MODELS = {
    "bird": "data/models/v2/mobilenet_v2_1.0_224_inat_bird_quant.tflite",
    "deeplab": "data/models/uncompiled/deeplabv3_mnv2_dm05_pascal_quant.tflite",
    "densenet": "data/models/random/DenseNet121_int8.tflite",
    "efficient": "data/models/random/EfficientNetB0_int8.tflite",
    "inception": "data/models/random/InceptionV3_int8.tflite",
    "lite0": "zoo/efficientnet_lite0.tflite",
    "lstm": "data/models/uncompiled/keras_lstm_mnist_ptq.tflite",
    "mobile025": "data/models/uncompiled/mobilenet_v1_0.25_128_quant.tflite",
    "mobile05": "data/models/uncompiled/mobilenet_v1_0.5_160_quant.tflite",
    "mobile2": "data/models/uncompiled/mobilenet_v2_1.0_224_quant.tflite",
    "movenet": "data/models/uncompiled/movenet_single_pose_lightning_ptq.tflite",
    "resnet50": "zoo/resnet50.tflite",
    "split": "data/models/uncompiled/split_concat.tflite",
    "ssd": "zoo/ssd_mobilenet_v1.tflite",
    "unet": "zoo/unet_small.tflite",
    "z1": "zoo/mobilenet_v1_0.25_128.tflite",
}
"""The names for models in the cases. EACH is run for every one of them, as {model} called {key}."""

MORE_MODELS = {
    "dense": "data/models/twins/LibrEdgeTPU__dense_512.983603.tflite",
    "embedding": "zoo/mobilenet_v1_0.25_128_embedding.tflite",
    "l2": "zoo/mobilenet_v1_0.25_128_l2.tflite",
}
"""Of the other cases."""

EACH = """
check-{key}: atoll check {model} --json
compile-{key}: atoll compile {model} -q --json
plan-{key}: atoll plan {model} --tpus 1..4 -q --json
partition-{key}: atoll partition {model} --tpus 3 -q --json
profile-{key}: atoll profile {model} -q --json
inspect-own-{key}: atoll compile {model} -q > /dev/null && atoll inspect *_edgetpu.tflite --original {model} --json
compiler-{key}: edgetpu_compiler -s {model}
"""
CASES = """
check-text: atoll check {deeplab}
check-runtime-10: atoll check {deeplab} -m 10 --json
check-runtime-13: atoll check {movenet} -m 13 --json
check-float: atoll check data/cases/floatio__floatio.tflite --json
check-int16: atoll check data/cases/floatio__int16act.tflite --json
check-group-conv: atoll check data/cases/gc193__group_conv.tflite --json
check-resize: atoll check data/cases/gc206__up_1x4x834x128_hp1.tflite --json
check-elu: atoll check data/cases/gc508__elu.tflite --json
check-mean: atoll check data/cases/gc461__mean_256x128x3.tflite --json
check-big-lstm: atoll check data/cases/gc598__lstm_1000.tflite --json
check-flex: atoll check data/cases/gc718__flex_splitv.tflite --json
check-dynamic: atoll check data/cases/tf88361__se_dynamic.tflite --json
check-per-channel: atoll check data/cases/tf73946__fc_per_channel_v12.tflite --json
check-compiled: atoll check data/models/v16/split_concat_edgetpu.tflite --json
check-missing: atoll check missing.tflite --json
check-no-model: atoll check data/damaged/input-14.png --json
check-cut-short: head -c 100000 {z1} > short.tflite; atoll check short.tflite --json
compile-text: atoll compile {mobile025}
compile-segments: atoll compile {mobile2} -n 3 -q --json
compile-segments-resnet: atoll compile {resnet50} -n 4 -o made --csv rows.csv -q --json
compile-together: atoll compile {mobile025} {mobile05} -q --json
compile-together-best: atoll compile {mobile2} {resnet50} --order best --rate {mobile2}=30 -q --json
compile-all-regions: atoll compile {deeplab} -a -q --json
compile-all-regions-movenet: atoll compile {movenet} -a -q --json
compile-intermediate: atoll compile {z1} -i block_6/pointwise/bn_relu6 -q --json
compile-intermediate-two: atoll compile {z1} {unet} -i block_6/pointwise/bn_relu6:down_1/pool -q --json
compile-search: atoll compile data/cases/gc206__up_1x4x834x128_hp1.tflite -d -k 2 -q --json
compile-search-movenet: atoll compile {movenet} -d -q --json
compile-1.0: atoll compile {mobile025} --generation 1.0 -q --json
compile-2.0: atoll compile {mobile025} --generation 2.0 -q --json
compile-2.1: atoll compile {deeplab} --generation 2.1 -q --json
compile-14.1: atoll compile {movenet} --generation 14.1 -q --json
compile-15: atoll compile {lstm} --generation 15.0 -q --json
compile-runtime-10: atoll compile {movenet} -m 10 -q --json
compile-no-cpu-subgraph: atoll compile {mobile2} --no-cpu-subgraph -q --json
compile-partition: atoll partition {resnet50} --tpus 4 -o cut.json -q > /dev/null && \
atoll compile {resnet50} --partition cut.json -q --json
compile-float: atoll compile data/cases/floatio__floatio.tflite -q --json
compile-dynamic: atoll compile data/cases/tf88361__se_dynamic.tflite -q --json
compile-compiled: atoll compile data/models/v16/split_concat_edgetpu.tflite -q --json
compile-too-many: atoll compile {split} -n 9 -q --json
compile-contradiction: atoll compile {mobile025} {mobile05} -n 2 --json
compile-no-vendor: atoll compile {z1} --codegen vendor --json
compile-timeout: atoll compile {resnet50} -t 0.001 -q --json
inspect-v16-mobile: atoll inspect data/models/v16/mobilenet_v1_0.25_128_quant_edgetpu.tflite \
--original {mobile025} --json
inspect-v16-deeplab: atoll inspect data/models/v16/deeplabv3_mnv2_dm05_pascal_quant_edgetpu.tflite --json
inspect-v16-lstm: atoll inspect data/models/v16/keras_lstm_mnist_ptq_edgetpu.tflite --original {lstm} --json
inspect-v16-movenet: atoll inspect data/models/v16/movenet_single_pose_lightning_ptq_edgetpu.tflite --json
inspect-v16-segment: atoll inspect \
data/models/v16/pipeline/ssd_mobilenet_v1_coco_quant_postprocess_segment_2_of_3_edgetpu.tflite --json
inspect-v2-bird: atoll inspect data/models/v2/mobilenet_v2_1.0_224_inat_bird_quant_edgetpu.tflite \
--original {bird} --json
inspect-text: atoll inspect data/models/v16/mobilenet_v1_0.5_160_quant_edgetpu.tflite
inspect-together: atoll compile {z1} {unet} -q > /dev/null && atoll inspect unet_small*_edgetpu.tflite --json
inspect-damaged: head -c 40000 data/models/v16/split_concat_edgetpu.tflite > f.tflite; atoll inspect f.tflite --json
inspect-uncompiled: atoll inspect {z1} --json
plan-text: atoll plan {resnet50} --tpus 1..3 -q
plan-fps: atoll plan {resnet50} --fps 60 --bus usb3 -q --json
plan-mixed: atoll plan {inception} --mixed pcie:2,usb2:2 -q --json
plan-fit: atoll plan {resnet50} --tpus 3..6 --memory-limit fit -q --json
plan-6mib: atoll plan {lite0} --memory-limit 6MiB --target dev-board -q --json
plan-models: atoll plan {z1} --models {unet} --models {lite0} --tpus 1..3 --fps 30 -q --json
plan-models-text: atoll plan {z1} --models {resnet50} --fps 30 --fps 20 -q
partition-text: atoll partition {resnet50} --tpus 4 -q
partition-usb2: atoll partition {resnet50} --tpus 4 --bus usb2 -q --json
partition-exactly: atoll partition {z1} --tpus 5 --exactly -q --json
partition-replicas: atoll partition {lite0} --tpus 5 --replicas 3 -q --json
partition-mixed: atoll partition {densenet} --mixed pcie:2,usb3:1 -q --json
partition-memory: atoll partition {resnet50} --tpus 6 --memory-limit 6MiB -q --json
partition-fit: atoll partition {inception} --tpus 4 --memory-limit fit --target pi4-usb3 -q --json
partition-latency: atoll partition {resnet50} --tpus 4 --objective latency -q --json
partition-max-latency: atoll partition {resnet50} --tpus 4 --max-latency 60 -q --json
partition-pin: atoll partition {resnet50} --tpus 3 --pin stage_4/block_1/add_relu -q --json
partition-check: atoll partition {unet} --tpus 3 -o cut.json -q > /dev/null && \
atoll partition {unet} --check cut.json --bus usb3 -q --json
partition-one: atoll partition {split} --tpus 4 --exactly -q --json
measure-model: atoll partition {z1} --tpus 3 --measure --device model --tolerance 5 -q --json
measure-model-text: atoll partition {unet} --tpus 2 --measure --device model
measure-compiler: atoll partition {z1} --tpus 2 --measure --device model --compiler edgetpu_compiler -q --json
measure-device: atoll partition {z1} --tpus 2 --measure --device pci:0 --tolerance 100 --budget 0.5 -q --json
profile-text: atoll profile {resnet50} --tpus 2 -q
profile-segments: atoll profile {resnet50} --tpus 4 --csv rows.csv --trace trace.json -q --json
profile-usb2: atoll profile {mobile2} --bus usb2 --clock reduced -q --json
profile-target: atoll profile {ssd} --target sbc5w-usb3 --clock standard -q --json
profile-vendor-file: atoll profile data/models/v16/mobilenet_v1_0.25_128_quant_edgetpu.tflite \
--original {mobile025} -q --json
profile-vendor-file-alone: atoll profile data/models/v16/mobilenet_v1_0.25_128_quant_edgetpu.tflite -q --json
profile-measure-cpu: atoll profile {deeplab} --measure-cpu -q --json
profile-device: atoll profile {z1} --device pci:0 --inferences 10 --csv rows.csv -q --json
profile-calibrate: echo '[{{"model": "{z1}", "ms": 3}}, {{"model": "{unet}", "ms": 9}}]' > runs.json && \
atoll profile --calibrate runs.json --bus usb3 -o my.toml -q --json
run-text: atoll run {z1} --inferences 5 -q
run-two: atoll run {z1} --tpus 2 --inferences 10 --segments-dir made -q --json
run-four: atoll run {mobile2} --tpus 4 --inferences 8 --device pci -q --json
run-unmapped: atoll run {deeplab} --tpus 2 --inferences 3 -q --json
run-partition: atoll partition {unet} --tpus 3 -o cut.json -q > /dev/null && \
atoll run {unet} --partition cut.json --inferences 5 -q --json
run-compiled: atoll compile {z1} -n 2 -q > /dev/null && \
atoll run *_segment_[01]_of_2_edgetpu.tflite --original {z1} --inferences 5 --seed 3 -q --json
run-image: atoll run {mobile2} --tpus 2 --input data/models/parrot.jpg --inferences 3 -q --json
run-real-time: atoll run {z1} --tpus 2 --inferences 20 --real-time --bus usb3 --clock reduced -q --json
run-bus: atoll run {z1} --tpus 3 --inferences 5 --target dev-board --per-device 2 -q --json
run-trace: atoll run {z1} --tpus 2 --inferences 3 --trace trace.json --metrics 0 -q --json
run-replica: atoll partition {lite0} --tpus 4 --replicas 3 -o cut.json -q > /dev/null && \
atoll run {lite0} --partition cut.json --inferences 6 -q --json
run-fault: ATOLL_FAULTS=pci:0=error@3 atoll run {z1} --tpus 2 --inferences 5 --device pci -q --json
run-lost: ATOLL_FAULTS=pci:1=disconnect@2 atoll run {z1} --tpus 2 --inferences 5 --device pci -q --json
run-no-device: atoll run {z1} --tpus 2 --device usb:7 -q --json
run-too-few: ATOLL_VIRTUAL_TPUS=pci:1 atoll run {z1} --tpus 2 --wait 1 -q --json
run-old-runtime: ATOLL_VIRTUAL_RUNTIME=10 atoll run {movenet} --tpus 2 --inferences 2 -q --json
classify-parrot: atoll classify {mobile2} data/models/parrot.jpg --labels data/models/imagenet_labels.txt --json
classify-text: atoll classify {bird} data/models/parrot.jpg data/models/cat.bmp --top 2
classify-threshold: atoll classify {z1} pictures/red/0.ppm pictures/blue/1.ppm --threshold 0.01 --segments 2 --json
classify-cpu: atoll classify {mobile025} data/models/cat.bmp --device cpu --top 5 --json
imprint: atoll learn imprint --extractor {l2} --images pictures -o my.tflite -q --json
imprint-keep: atoll learn imprint --extractor {l2} --images pictures -o my.tflite --keep-classes --held-out 0.5 \
-q --json
imprint-tail: atoll learn imprint --extractor {embedding} --append-tail --images pictures --segments 2 \
-o my.tflite --labels names.txt -q --json
imprint-animals: atoll learn imprint --extractor {l2} --images animals --device cpu -o my.tflite --held-out 0 --json
imprint-untrainable: atoll learn imprint --extractor {z1} --images pictures -o my.tflite -q --json
imprint-classify: atoll learn imprint --extractor {l2} --images pictures -o my.tflite -q > /dev/null && \
atoll classify my.tflite pictures/green/0.ppm --labels my_labels.txt --json
softmax: atoll learn softmax --extractor {embedding} --images pictures -o my.tflite --iterations 40 --curve c.svg \
-q --json
softmax-patience: atoll learn softmax --extractor {embedding} --images pictures -o my.tflite --batch-size 5 --reg 0.1 \
--learning-rate 0.05 --patience 3 --seed 4 --device pci:0 -q --json
softmax-text: atoll learn softmax --extractor {embedding} --images pictures -o my.tflite --iterations 20
graph-join: atoll graph partition_with_num_ops --model_path {z1} --num_ops 10,21 --output_dir made && \
atoll graph join_tflite_models --input_graph_base made/tmp_segment_0_of_2.tflite \
--input_graph_head made/tmp_segment_1_of_2.tflite --output_graph joined.tflite
graph-num-ops: atoll graph partition_with_num_ops --model_path {resnet50} --num_ops 20,30,27 --output_dir made
graph-num-ops-bad: atoll graph partition_with_num_ops --model_path {resnet50} --num_ops 20,30 --output_dir made
graph-split-outputs: atoll graph split_fc --input_graph {lite0} --output_graph s.tflite --split_ratio 0.25
graph-split-inputs: atoll graph split_fc --input_graph {dense} --output_graph s.tflite --split_over inputs --max_steps 5
graph-split-inputs-bad: atoll graph split_fc --input_graph {dense} --output_graph s.tflite --split_over inputs
graph-recurrent: atoll graph append_recurrent_links --input_graph {split} --output_graph r.tflite \
--input_tensor_names inputs/rnn1,inputs/rnn2 --output_tensor_names outputs/rnn1,outputs/rnn2
graph-recurrent-bad: atoll graph append_recurrent_links --input_graph {split} --output_graph r.tflite \
--input_tensor_names inputs/rnn1 --output_tensor_names outputs/rnn2
vendor-recurrent: append_recurrent_links --input_graph {split} --output_graph r.tflite \
--input_tensor_names inputs/rnn2 --output_tensor_names outputs/rnn2
vendor-join: partition_with_num_ops --model_path {unet} --num_ops 20,17 --output_dir made && \
join_tflite_models --input_graph_base made/tmp_segment_0_of_2.tflite \
--input_graph_head made/tmp_segment_1_of_2.tflite --output_graph joined.tflite
vendor-join-bad: join_tflite_models --input_graph_base {embedding} --input_graph_head {z1} --output_graph j.tflite
vendor-split: split_fc --input_graph {lite0} --output_graph s.tflite --split_over inputs --max_steps 20
vendor-num-ops: partition_with_num_ops --model_path {unet} --num_ops 7,30 --output_dir made --segment_prefix u
vendor-profiling: partition_with_profiling --model_path {z1} --num_segments 3 --output_dir made --device model -q --json
vendor-profiling-text: partition_with_profiling --model_path {unet} --num_segments 2 --output_dir made --device model \
--edgetpu_compiler_binary edgetpu_compiler --diff_threshold_ns 100000
vendor-profiling-device: partition_with_profiling --model_path {z1} --num_segments 2 --output_dir made --device usb:0 \
--diff_threshold_ns 1000000000 -q --json
vendor-pipelining: edgetpu_compiler -n 2 {z1} > /dev/null && model_pipelining . mobilenet_v1_0.25_128 2 5
vendor-pipelining-missing: model_pipelining . mobilenet_v1_0.25_128 2 5
vendor-pipeline-analysis: model_pipelining_performance_analysis --data_dir zoo --model_list unet_small \
--num_segments_list 1,2 --modelled -q --json
vendor-tpus-analysis: multiple_tpus_performance_analysis --test_data_dir zoo --model_list unet_small --modelled \
-q --json
bench-pipeline-modelled: atoll bench model_pipelining_performance_analysis --data_dir zoo \
--model_list resnet50 --num_segments_list 1,2,4 --modelled --segment_latencies_path l.csv \
-q --json
bench-pipeline-two: atoll bench model_pipelining_performance_analysis --data_dir zoo --num_segments_list 1,3 \
--model_list unet_small,mobilenet_v1_0.25_128 --num_inferences 40 --modelled --target dev-board -q --json
bench-tpus-modelled: atoll bench multiple_tpus_performance_analysis --model_list mobilenet_v1_0.25_128,resnet50 \
--num_requests 300 --num_tpus_list 1,2,3 --modelled --target pi4-usb3 -q --json
bench-tpus-text: atoll bench multiple_tpus_performance_analysis --model_list unet_small --num_requests 90 --modelled -q
bench-pipeline-measured: atoll bench model_pipelining_performance_analysis --data_dir zoo \
--model_list mobilenet_v1_0.25_128 --num_segments_list 1,2 --num_inferences 10 -q --json
bench-tpus-measured: atoll bench multiple_tpus_performance_analysis --test_data_dir zoo \
--model_list mobilenet_v1_0.25_128 --num_tpus_list 1,2 --num_requests 20 --device_type usbonly -q --json
compiler-segments: edgetpu_compiler -s -n 3 {mobile2} -o made
compiler-together: edgetpu_compiler -s {mobile025} {mobile05}
compiler-options: edgetpu_compiler -s -a -m 13 {deeplab}
compiler-intermediate: edgetpu_compiler -s -i block_6/pointwise/bn_relu6 {z1}
compiler-search: edgetpu_compiler -s -d -k 3 {movenet}
compiler-version: edgetpu_compiler --version
compiler-help: edgetpu_compiler --help
compiler-float: edgetpu_compiler data/cases/floatio__floatio.tflite
compiler-missing: edgetpu_compiler missing.tflite
devices: atoll devices --json
devices-text: atoll devices
devices-hot: ATOLL_FAULTS=pci:0=hot@95 ATOLL_VIRTUAL_TPUS=pci:1,usb:1 atoll devices --json
devices-watch: timeout -s INT 3 atoll devices --watch --interval 60 --json
doctor: atoll doctor --json
doctor-text: atoll doctor
doctor-unwell: ATOLL_VIRTUAL_TPUS=nonsense atoll doctor --json
lease: atoll lease -n 2 --bus usb -- atoll devices --json
lease-nested: atoll lease -n 4 --bus pcie -- atoll lease --wait 0 --device pci:0 -- true
lease-held: atoll lease --device pci:1 -- env -u ATOLL_DEVICES atoll devices --json
lease-no-command: atoll lease -- there-is-no-such-command
lease-exit-code: atoll lease --device usb:0 -q -- sh -c 'echo $ATOLL_DEVICES; exit 7'
zoo-list: atoll zoo list --json
zoo-list-text: atoll zoo list
zoo-build: atoll zoo build mobilenet_v2_0.35_96
zoo-build-seed: atoll zoo build mobilenet_v2_0.35_96_l2 --seed 5 -o net.tflite
zoo-unknown: atoll zoo build resnet51
version: atoll --version
usage: atoll compile --no-such-option
"""
"""Further cases, with the same names for models."""

ON_PURPOSE = (
    ("plan-fps", "files.plan.svg", "plan --chart is gone: a library may draw what to_dict() and --format csv give"),
    ("plan-*", "report.how*", "the same in plainer words"),
    ("compile-intermediate*", "report.files*.findings*.why", "the same in plainer words"),
)
"""Cases, paths of values that are gone or others there, and why that is meant so."""

NEVER_COMPARED = {"schema", "schema_version", "version", "pid", "token", "tokens"}
CLOCK_KEYS = (
    ("compile-*", {"milliseconds"}),
    ("devices*", {"time"}),
    ("lease*", {"time"}),
    ("measure-*", {"minutes"}),
    ("measure-device", {"bottleneck_ms", "lower_bound_ms", "measured_ms"}),
    ("vendor-profiling-device", {"difference_ms", "ms", "slowest_ms", "start_slowest_ms"}),
    ("profile-device", {"measured", "rows.csv"}),
    ("profile-measure-cpu", {"interval_ms", "latency_ms", "throughput", "simulated"}),
    ("profile-measure-cpu", {"ms", "compute_ms", "cpu_ms", "stage_ms", "total_ms"}),
    ("run-*", {"advice", "bottleneck", "efficiency", "first_result_s", "ideal_throughput", "throughput", "wall_s"}),
    ("run-*", {"busy_share", "mean_s", "p50_s", "p95_s", "p99_s", "queued"}),
    ("run-*", {"late_share", "mean_ms", "p95_ms", "share_of_bottleneck", "trace.json"}),
    ("bench-*-measured", {"per_second", "seconds", "segment_ms", "speed_up"}),
)
"""Cases, and the keys (or files) that depend on the clock: of those the structure is compared, not the values."""
CLOCK_TEXT = (
    ("*", r"atoll,? (version )?\d+\.\d+\.\d+\S*"),
    ("measure-compiler", r"(?<= )[0-9a-f]{16}(?= -t )"),
    ("compiler-*", r"(?<=compiled successfully in )\d+"),
    ("run-trace", r"(?<=127\.0\.0\.1:)\d+"),
    ("run-text", r"^.* inferences/s over .*"),
    ("run-text", r"\d+\.\d\d ms +\d+%|─+| {2,}"),
    ("vendor-pipelining", r"^.*\bper item, busy\b.*|^.* (inputs come|results are taken) too slowly.*"),
    ("vendor-pipelining", r"\d+\.\d+ m?s|\d+\.\d per second|\d+%|─+| {2,}"),
)
"""Cases, and what in their texts depends on the clock, the version or where it is installed: that is left out."""
