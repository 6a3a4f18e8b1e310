# Mainstay in one container: the same ./mainstay up, with its state in the volume /data.
FROM debian:bookworm-slim

RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates util-linux \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --create-home --uid 10001 mainstay \
 && install -d -o mainstay -g mainstay -m 0700 /data

WORKDIR /srv/mainstay
RUN chown mainstay:mainstay /srv/mainstay
USER mainstay
COPY --chown=mainstay:mainstay . .
RUN ./mainstay help

# Listening beyond loopback needs https in MAINSTAY_URL: a proxy with a certificate stands in front.
ENV MAINSTAY_DATA=/data MAINSTAY_LISTEN=0.0.0.0 MAINSTAY_PORT=8000
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["./mainstay"]
CMD ["up"]
