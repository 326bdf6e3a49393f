# What customers read of a booking, in English: the default of every other language.
# The format is Fluent's (https://projectfluent.org); the README says what can be used of it.

technician_assigned =
    .title = Technician Assigned! 🚗
    .body = { $technician } has been assigned to your booking { $trackId }. They will contact you soon.
    .priority = high

startjourney =
    .title = Technician is on the way! 🚗
    .body = { $technician } has started the journey to your location. (Booking: { $trackId })
    .priority = normal

reached =
    .title = Technician has arrived! ✅
    .body = { $technician } has reached your location and is ready to start. (Booking: { $trackId })
    .priority = high

startservice =
    .title = Service Started! 🔧
    .body = { $technician } has begun working on your vehicle. (Booking: { $trackId })
    .priority = high

completed =
    .title = Service Completed! 🎉
    .body = Your vehicle service has been completed successfully. (Booking: { $trackId })
    .priority = high

cancelled =
    .title = Booking Cancelled ❌
    .body = Your service booking has been cancelled. (Booking: { $trackId })
    .priority = normal
