# The whole build, so that it can be repeated by hand. Drops the caller's Cargo settings (flags, wrappers, profiles,
# the toolchain of an outer `cargo test`), but keeps Cargo's home and its access to the registry.
#
#   FOLDER   the folder that holds guest/, and gets target/
#   PACKAGE  the guest
#   TARGET   what it is built for: wasm32-wasip1, or Linux with musl
set -eu
cd "$1/guest"
for name in $(env | sed -n 's/^\([A-Za-z0-9_]*\)=.*/\1/p'); do
    case $name in
    RUSTUP_TOOLCHAIN) unset "$name" ;;
    RUSTUP_* | CARGO_HOME | CARGO_HTTP_* | CARGO_NET_* | CARGO_REGISTRIES_*) ;;
    RUST* | CARGO*) unset "$name" ;;
    esac
done
rustc --version
# Rust brings all that is linked, for each architecture: no C compiler is needed.
case $3 in
*-musl) export RUSTFLAGS='-C linker=rust-lld -C link-self-contained=yes' ;;
esac
exec cargo build --release --locked --target "$3" --manifest-path Cargo.toml --package "$2" --target-dir "$1/target"
