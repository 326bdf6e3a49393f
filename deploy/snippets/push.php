<?php
// Tells the push service what happened to a booking. PHP 7.4 or later, no extension (for https: openssl).
//
// PUSH_URL is the service's address, PUSH_API_KEY a key with the scope `send`.

const PUSH_TRIES = 5;
const PUSH_TIMEOUT_SECONDS = 10;
const PUSH_PAUSE_SECONDS_MAX = 30;
// The service or something before it is busy or away: another try may get through.
const PUSH_AGAIN = [429, 502, 503, 504];

/** $booking: ['customerId' => …, 'bookingId' => …, 'trackId' => …]; $technician: ['name' => …]. */
function assignTechnician(array $booking, array $technician, array $options = []): array
{
    return pushTell(['event' => 'technician_assigned', 'technician' => $technician] + $booking, $options);
}

/** The same with the two statuses; the technician may be left out where the text does not name one. */
function updateBookingStatus(
    array $booking,
    ?string $oldStatus,
    string $newStatus,
    ?array $technician = null,
    array $options = []
): array {
    $event = ['event' => 'status_changed', 'technician' => $technician, 'oldStatus' => $oldStatus, 'newStatus' => $newStatus];
    return pushTell($event + $booking, $options);
}

/**
 * Returns the service's answer, or throws a RuntimeException. $options: 'occurredAt', a DateTimeInterface, when it happened
 * if not now; 'key', your own id of the event, if your program may call again for the same one.
 */
function pushTell(array $event, array $options): array
{
    $occurredAt = $options['occurredAt'] ?? new DateTimeImmutable();
    $key = $options['key'] ?? bin2hex(random_bytes(16));
    // The same key and body at every try: however many get through, the customer is told once.
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => [
            'Authorization: Bearer ' . getenv('PUSH_API_KEY'),
            'Content-Type: application/json',
            'Idempotency-Key: ' . $key,
            'Connection: close',
        ],
        'content' => json_encode($event + ['occurredAt' => $occurredAt->format('Y-m-d\TH:i:s.vP')], JSON_THROW_ON_ERROR),
        'timeout' => PUSH_TIMEOUT_SECONDS,
        'ignore_errors' => true,
        'protocol_version' => 1.1,
    ]]);
    for ($tried = 1; ; $tried++) {
        [$status, $asked, $answer] = [0, 0, null];
        $stream = @fopen(getenv('PUSH_URL') . '/api/Push/events', 'r', false, $context);
        if ($stream !== false) {
            foreach (stream_get_meta_data($stream)['wrapper_data'] ?? [] as $line) {
                if (preg_match('~^HTTP/\S+ (\d{3})~', $line, $found)) {
                    $status = (int) $found[1];
                } elseif (preg_match('~^Retry-After: *(\d+)~i', $line, $found)) {
                    $asked = (int) $found[1];
                }
            }
            $answer = json_decode((string) stream_get_contents($stream), true);
            fclose($stream);
        }
        if (is_array($answer) && $status >= 200 && $status < 300) {
            return $answer;
        }
        if ($tried === PUSH_TRIES || (is_array($answer) && !in_array($status, PUSH_AGAIN, true))) {
            throw new RuntimeException('push service: ' . ($answer ? json_encode($answer) : "no answer ($status)"));
        }
        $pause = $asked ?: 0.5 * 2 ** $tried * random_int(50, 150) / 100;
        usleep((int) (min($pause, PUSH_PAUSE_SECONDS_MAX) * 1e6));
    }
}
