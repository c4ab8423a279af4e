# Two ways to the same image:
#
#   docker build -t orla .                                     compiles inside the build
#   make dist && docker build -t orla --target binary .        packages dist/, needs no base image
#
# Run it with its data on a volume:
#
#   docker run --name orla -p 80:8080 -p 443:8443 -v orla:/data orla
#   docker exec orla /orla doctor

# ---- binary: what `make dist` built ----
FROM scratch AS binary
ARG TARGETARCH=amd64
COPY dist/orla-linux-${TARGETARCH} /orla
# The bundle is the build machine's; a proxy to an https:// upstream needs it.
COPY LICENSE dist/ca-certificates.cr[t] /etc/ssl/certs/
COPY --chown=65532:65532 dist/root /
ENV ORLA_DATA=/data
VOLUME /data
USER 65532:65532
EXPOSE 8080 8443
ENTRYPOINT ["/orla"]
CMD ["serve"]

# ---- build: compile with the toolchain that go.mod names ----
FROM golang:1.26 AS build
ARG VERSION=dev
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/orla ./cmd/orla && mkdir -p /out/root && mkdir -m 0700 /out/root/data

# ---- orla: the default ----
FROM scratch AS orla
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/orla /orla
COPY --from=build --chown=65532:65532 /out/root /
ENV ORLA_DATA=/data
VOLUME /data
USER 65532:65532
EXPOSE 8080 8443
ENTRYPOINT ["/orla"]
CMD ["serve"]
