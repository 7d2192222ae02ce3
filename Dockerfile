# segno in an image with nothing else in it: one program, and the roots that it trusts for `https://`.
#
#   docker build -t segno .
#   docker run -p 8080:8080 -e SEGNO_UPSTREAM=http://host.docker.internal:3000 -v segno:/var/lib/segno segno
#
# Flags go behind the image's name (`segno proxy --help` lists them), variables with `-e`, and a configuration is mounted:
#
#   docker run -v ./segno.toml:/etc/segno/segno.toml:ro … segno proxy --config /etc/segno/segno.toml

FROM rust:1.95-bookworm AS build
ARG PROFILE=release
RUN apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends ca-certificates musl-tools
WORKDIR /build
COPY Cargo.toml Cargo.lock README.md ./
COPY benches benches
COPY docs docs
COPY examples examples
COPY packaging packaging
COPY src src
COPY tests tests
RUN PROFILE="$PROFILE" packaging/build static
RUN mkdir -p /image/var/lib/segno

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/packages/segno-static /usr/bin/segno
COPY --from=build --chown=65532:65532 /image/var/lib/segno /var/lib/segno
USER 65532:65532
WORKDIR /var/lib/segno
ENV SEGNO_LISTEN=0.0.0.0:8080
EXPOSE 8080
VOLUME /var/lib/segno
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/segno"]
CMD ["proxy"]
